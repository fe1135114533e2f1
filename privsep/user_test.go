package privsep

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const passwdSample = `root:x:0:0:root:/root:/bin/bash
toor:x:0:0:second root:/root:/bin/sh
# a comment
broken:x:12
+@netgroup::::::
dffs:x:990:991:DataFlux Func Sidecar:/home/dffs:/bin/bash
bare:x:1000:1000::: 
empty:x:1001:1001:::
rootgroup:x:1002:0::/:/bin/sh
huge:x:4294967295:1::/:/bin/sh
relative:x:1003:1003::home:/bin/sh
negative:x:-1:1::/:/bin/sh
dffs:x:0:0:a later line of the same name:/root:/bin/sh`

const groupSample = `root:x:0:
docker:x:20:other,dffs
adm:x:4:dffsx,xdffs
dffs:x:991:dffs
video:x:44:dffs
video2:x:44:dffs
+:::`

// withoutTools is a host that has neither getent nor id.
func withoutTools(passwd, group string) accounts {
	return accounts{passwd, group, hostTools{[]string{"/nowhere"}, maxToolTime}}
}

func TestLookupUser_FromFiles(t *testing.T) {
	u, err := withoutTools(passwdSample, groupSample).runUser("dffs")
	want := User{
		Name: "dffs", UID: 990, GID: 991, Groups: []int{991, 20, 44}, Home: "/home/dffs",
		Shell: "/bin/bash", Note: u.Note,
	}
	if err != nil || !reflect.DeepEqual(u, want) {
		t.Errorf("got %+v, %v; want %+v", u, err, want)
	}
	if !strings.Contains(u.Note, "/etc/group alone") ||
		!strings.Contains(u.Note, "there is no id in ") {
		t.Errorf("got the note %q, want the reason in it", u.Note)
	}
	u, err = withoutTools(passwdSample, groupSample).runUser("empty")
	if err != nil || u.Home != "/" || u.Shell != "/bin/sh" {
		t.Errorf("empty fields: got %+v, %v; want / and /bin/sh", u, err)
	}
}

func TestLookupUser_RootAndBrokenLines(t *testing.T) {
	for name, says := range map[string]string{
		"root": "uid 0", "toor": "uid 0", "rootgroup": "gid 0",
		"huge": "not an id", "negative": "not an id", "relative": "not an absolute path",
		"nobodyknows": "useradd", "broken": "no such user", "": "no such user", "#": "no such user",
	} {
		_, err := withoutTools(passwdSample, groupSample).runUser(name)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q in it", name, err, says)
		}
	}
}

func TestLookupUser_BrokenGroupLine(t *testing.T) {
	if _, err := withoutTools(passwdSample, "bad:x:many:dffs").runUser("dffs"); err == nil {
		t.Error("a group without a number: got success, want an error")
	}
}

func TestLookupUser_ThisHost(t *testing.T) {
	if _, err := LookupUser("root"); err == nil {
		t.Error("root as the run user: got success, want an error")
	}
	if _, err := LookupUser("no-such-user-here"); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("unknown user: got %v, want ErrUnknownUser", err)
	}
	u, err := CurrentUser()
	if err != nil || u.UID != os.Getuid() || u.GID != os.Getgid() {
		t.Errorf("current user: got %+v, %v; want ids %d and %d", u, err, os.Getuid(), os.Getgid())
	}
	if _, err := LookupRoleUser("root"); err == nil || !strings.Contains(err.Error(), "--role-user") {
		t.Errorf("root as the user of the roles: got %v, want --role-user in it", err)
	}
	_, err = LookupRoleUser("no-such-user-here")
	if !errors.Is(err, ErrUnknownUser) || !strings.Contains(err.Error(), "--role-user") {
		t.Errorf("unknown user of the roles: got %v, want ErrUnknownUser with --role-user", err)
	}
}

// The access is that of the user, and this process stays root.
func TestUser_Access(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for parent := filepath.Dir(dir); parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed, own, group := filepath.Join(dir, "closed"), filepath.Join(dir, "own"), filepath.Join(dir,
		"group")
	for path, mode := range map[string]os.FileMode{closed: 0o700, own: 0o700, group: 0o710} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	inside, script, text := filepath.Join(closed, "inside"), filepath.Join(dir,
		"script"), filepath.Join(dir, "text")
	for path, mode := range map[string]os.FileMode{inside: 0o755, script: 0o755, text: 0o644} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	u := User{Name: "somebody", UID: 65533, GID: 65533, Groups: []int{65533, 4321}}
	if err := errors.Join(os.Chown(own, u.UID, 0), os.Chown(group, 0, 4321)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		dir: nil, own: nil, group: nil, closed: unix.EACCES, filepath.Join(dir,
			"none"): unix.ENOENT, text: unix.ENOTDIR,
	} {
		if err := u.CanEnter(path); !errors.Is(err, want) {
			t.Errorf("entering %s: got %v, want %v", path, err, want)
		}
	}
	for path, want := range map[string]error{script: nil, inside: unix.EACCES, text: unix.EACCES} {
		if err := u.CanExecute(path); !errors.Is(err, want) {
			t.Errorf("executing %s: got %v, want %v", path, err, want)
		}
	}
	for range 200 {
		_ = u.CanEnter(dir)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || !strings.Contains(string(status), "\nUid:\t0\t0\t0\t0\n") {
		t.Errorf("the main thread: got %v\n%s\nwant root in all four ids", err, status)
	}
	for range 50 { // on whichever thread
		if _, err := os.ReadDir(closed); err != nil || os.Geteuid() != 0 {
			t.Fatalf("reading as root: got %v, uid %d; want success as 0", err, os.Geteuid())
		}
	}
}
