package supervisor

import "testing"

func TestContained_ByStarter(t *testing.T) {
	const system, user = "/run/systemd/notify", "/run/user/1/systemd/notify"
	for name, test := range map[string]struct {
		pid, parent    int
		socket, execID string
		want           bool
	}{
		"a system service":           {40, 1, system, "", true},
		"a user's service":           {40, 30, user, "40", true},
		"init of a container":        {1, 0, "", "", true},
		"a terminal":                 {40, 30, "", "", false},
		"an orphan":                  {40, 1, "", "", false},
		"a shell of another service": {40, 30, system, "30", false},
	} {
		env := map[string]string{"NOTIFY_SOCKET": test.socket, "SYSTEMD_EXEC_PID": test.execID}
		got := contained(test.pid, test.parent, func(key string) string { return env[key] })
		if got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
	}
}
