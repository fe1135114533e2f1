package supervisor

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

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

// A systemd that is busy takes no message for a while. READY=1 must reach it nevertheless.
func TestNotifier_ReadyWhileSystemdIsBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = systemd.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	n := newNotifier()
	// The queue of systemd has a bound, and what each of its senders has in it.
	others := 0
	for full := false; !full; {
		before := others
		for n.send("STATUS=x"); n.conn != nil; n.send("STATUS=x") {
			others++
		}
		full = others == before
	}
	n.ready()
	buffer := make([]byte, 100)
	_ = systemd.SetReadDeadline(time.Now().Add(testkit.Patience))
	for range others {
		if _, err := systemd.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"READY=1\nWATCHDOG=1", "WATCHDOG=1"} {
		n.alive()
		size, err := systemd.Read(buffer)
		if got := string(buffer[:size]); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", strings.TrimSpace(got), err, want)
		}
	}
}
