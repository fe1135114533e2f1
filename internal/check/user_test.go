package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/units"
)

// said are the findings as check prints them.
func said(found []Finding) string {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func TestLogin_ShellAndHome(t *testing.T) {
	for _, test := range []struct {
		name, shell string
		mode        os.FileMode
		files       []string
		want        []string // each in a line of its own; none: all is well
	}{
		{"as install.sh makes it", "/usr/sbin/nologin", 0o750, nil, nil},
		{"other names of it", "/bin/false", 0o700, nil, nil},
		{"a login shell", "/bin/sh", 0o750, nil, []string{"has the login shell /bin/sh"}},
		{"a shell of its own", "/opt/nologin/bash", 0o750, nil, []string{"has the login shell " +
			"/opt/nologin/bash"}},
		{"a home that others list", "/sbin/nologin", 0o755, nil, []string{"everyone can list"}},
		{"a home that others enter", "/sbin/nologin", 0o711, nil, nil},
		{
			"a home that others write", "/sbin/nologin", 0o757, nil,
			[]string{"everyone can write to"},
		},
		{
			"what opens sessions", "/sbin/nologin", 0o750,
			[]string{".ssh", ".forward"},
			[]string{".ssh: keys that commands write", ".forward: a mail to"},
		},
	} {
		home := t.TempDir()
		for _, file := range test.files {
			// not followed
			if err := os.Symlink("/nowhere", filepath.Join(home, file)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(home, test.mode); err != nil {
			t.Fatal(err)
		}
		c := &checker{Options: Options{User: "dffs"}, account: privsep.User{
			Name: "dffs",
			UID:  os.Geteuid(), Home: home, Shell: test.shell,
		}}
		found := checkLogin(c)
		if test.want == nil {
			if len(found) != 1 || found[0].Level != OK {
				t.Errorf("%s: got\n%s\nwant nothing wrong", test.name, said(found))
			}
			continue
		}
		if len(found) != len(test.want) {
			t.Errorf("%s: got\n%s\nwant %q", test.name, said(found), test.want)
			continue
		}
		for i, want := range test.want {
			if found[i].Level != Warning || !strings.Contains(found[i].Message, want) {
				t.Errorf("%s: got %s, want a warning with %q", test.name, found[i], want)
			}
		}
	}
}

// A home such as / is another user's, and chmod is no advice there.
func TestLogin_HomeOfAnotherUser(t *testing.T) {
	if found := checkHome(privsep.User{
		Name: "dffs", UID: os.Geteuid() + 1,
		Home: t.TempDir(),
	}); found != nil {
		t.Errorf("got\n%s\nwant nothing", said(found))
	}
}

func TestRoles_UserOfTheDaemon(t *testing.T) {
	account, err := privsep.LookupUser("nobody")
	if err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		role  string
		level Level
		want  string
	}{
		{"daemon", OK, "user daemon, the user of the daemon, exists"},
		{"no-such-user", Warning, "there is no user no-such-user, so the daemon is user nobody"},
		{"nobody", Failure, "has the user or group number of nobody"},
		{"root", Failure, "the daemon cannot be user root"},
	} {
		c := &checker{
			Options: Options{UnitDir: SystemUnits, User: "nobody", RoleUser: test.role},
			account: account,
		}
		found := checkRoleUser(c)
		if len(found) != 1 || found[0].Level != test.level || !strings.Contains(found[0].Message,
			test.want) {
			t.Errorf("%s: got\n%s\nwant %s with %q", test.role, said(found), test.level, test.want)
		}
		if missing := test.level == Warning; missing != strings.Contains(found[0].Command,
			"useradd --system") {
			t.Errorf("%s: got the command %q", test.role, found[0].Command)
		}
	}
}

func TestBounds_SharedWithCommands(t *testing.T) {
	for _, test := range []struct {
		tasks, burst string
		running      int
		want         []string // none: all is well
	}{
		{"infinity", "100000000", 1024, nil},
		{"18446744073709551615", "100000000", 1024, nil},
		{"", "", 1024, nil}, // a systemd that has neither
		{"2112", "100000000", 1024, nil},
		{"2111", "100000000", 1024, []string{"TasksMax of the service is 2111, and MAX_RUNNING = " +
			"1024"}},
		{"512", "0", 1024, []string{"need 2112 or more", "the journal takes 0 entries"}},
		{"500", "10000", 32, []string{"the journal takes 10000 entries"}},
	} {
		c := &checker{
			settings: config.Config{MaxRunning: test.running},
			units: map[string]units.Properties{units.Service: {
				"TasksMax":          test.tasks,
				"LogRateLimitBurst": test.burst,
			}},
		}
		found := checkBounds(c)
		what := fmt.Sprintf("TasksMax=%s LogRateLimitBurst=%s MAX_RUNNING=%d", test.tasks,
			test.burst, test.running)
		if test.want == nil && (len(found) != 1 || found[0].Level != OK) {
			t.Errorf("%s: got\n%s\nwant nothing wrong", what, said(found))
		}
		for i, want := range test.want {
			if i >= len(found) || found[i].Level != Warning || !strings.Contains(found[i].Message,
				want) {
				t.Errorf("%s: got\n%s\nwant warning %d with %q", what, said(found), i, want)
			}
		}
	}
}
