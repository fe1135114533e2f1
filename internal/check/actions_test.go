package check

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep"
)

func TestActions_ProgramOf(t *testing.T) {
	for _, test := range []struct {
		action policy.Action
		want   string
	}{
		{policy.Action{Argv: []string{"/opt/a b", "/x"}}, "/opt/a b"},
		{policy.Action{Text: "/opt/a"}, "/opt/a"},
		{policy.Action{Text: "\n  /opt/a --all /x"}, "/opt/a"},
		{policy.Action{Text: "/opt/a;rm x"}, "/opt/a"},
		{policy.Action{Text: "/opt/a>log"}, "/opt/a"},
		{policy.Action{Text: "'/opt/a b' x"}, "/opt/a b"},
		{policy.Action{Text: `"/opt/a b"`}, "/opt/a b"},
		{policy.Action{Text: `"/opt/$A" x`}, ""},
		{policy.Action{Text: "/opt/*/a"}, ""},
		{policy.Action{Text: "deploy /opt/a"}, ""},
		{policy.Action{Text: "A=1 /opt/a"}, ""},
		{policy.Action{Text: "'"}, ""},
	} {
		if got := programOf(test.action); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.action, got, test.want)
		}
	}
}

// place makes a directory of the owner alone, with a program in it, and returns both.
func place(t *testing.T) (dir, program string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dir")
	program = filepath.Join(dir, "program")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, program
}

// The files belong to the user of the test, which here is one or another user of commands.
func TestActions_ProgramThatCommandsCanChange(t *testing.T) {
	uid, gid := os.Geteuid(), os.Getegid()
	stranger := privsep.User{Name: "dffs", UID: uid + 1, Groups: []int{gid + 1}, Home: "/nonexistent"}
	member := stranger
	member.Groups = []int{gid + 1, gid}
	chmod := func(mode os.FileMode, name string) func(dir string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	for _, test := range []struct {
		name    string
		user    privsep.User
		prepare func(dir string) error
		want    []string // of each warning, a part and the command, with DIR; none: all is well
	}{
		{"of root alone", stranger, chmod(0o755, "program"), nil},
		{"a program that everyone writes", stranger, chmod(0o757, "program"), []string{
			"DIR/program can be written by everyone: run chmod o-w DIR/program",
		}},
		{"a program of a foreign group", stranger, chmod(0o775, "program"), nil},
		{"a program of its group", member, chmod(0o775, "program"), []string{
			"DIR/program can be written by a group of that user: run chmod g-w DIR/program",
		}},
		{"the group comes before the others", member, chmod(0o757, "program"), nil},
		{"a directory that everyone writes", stranger, chmod(0o777, "."), []string{
			"DIR can be written by everyone: run chmod o-w DIR",
		}},
		{"a directory like /tmp", stranger, chmod(0o777|os.ModeSticky, "."), nil},
		{"directory and program", stranger, func(dir string) error {
			return errors.Join(os.Chmod(dir+"/program", 0o757), os.Chmod(dir, 0o777))
		}, []string{"DIR can be written by everyone: run chmod o-w DIR", "DIR/program can be written by everyone: run chmod o-w DIR/program"}},
		{"a program that is not there", stranger, func(dir string) error {
			return os.Remove(dir + "/program")
		}, []string{"DIR/program, which does not exist"}},
		{"a link out of a directory that everyone writes", stranger, func(dir string) error {
			open := filepath.Join(filepath.Dir(dir), "open")
			if err := os.Rename(dir+"/program", filepath.Dir(dir)+"/real"); err != nil {
				return err
			}
			if err := os.Mkdir(open, 0o755); err != nil {
				return err
			}
			if err := os.Chmod(open, 0o777); err != nil {
				return err
			}
			if err := os.Symlink("../open/link", dir+"/program"); err != nil {
				return err
			}
			return os.Symlink(filepath.Dir(dir)+"/real", open+"/link")
		}, []string{"/open can be written by everyone: run chmod o-w"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, program := place(t)
			if err := test.prepare(dir); err != nil {
				t.Fatal(err)
			}
			wantWarnings(t, test.user, program, dir, test.want)
		})
	}
}

// wantWarnings checks an action that runs the program.
func wantWarnings(t *testing.T, user privsep.User, program, dir string, want []string) {
	t.Helper()
	c := &checker{Options: Options{User: user.Name}, account: user}
	c.settings.Actions = []policy.Action{{Name: "deploy", Text: program}}
	found := checkActions(c)
	if want == nil {
		if len(found) != 1 || found[0].Level != OK {
			t.Errorf("got\n%s\nwant nothing wrong", said(found))
		}
		return
	}
	if len(found) != len(want) {
		t.Errorf("got\n%s\nwant %q", said(found), want)
		return
	}
	for i, text := range want {
		text = strings.ReplaceAll(text, "DIR", dir)
		if found[i].Level != Warning || !strings.Contains(found[i].String(), text) || !strings.Contains(found[i].Message, "ACTION.deploy") {
			t.Errorf("got %s, want a warning with %q", found[i], text)
		}
	}
}

func TestActions_CircleOfLinks(t *testing.T) {
	dir, program := place(t)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("program", program); err != nil {
		t.Fatal(err)
	}
	user := privsep.User{Name: "dffs", UID: os.Geteuid() + 1, Home: "/nonexistent"}
	wantWarnings(t, user, program, dir, []string{"which cannot be looked at: open DIR/program: too many levels of symbolic links"})
}

func TestActions_ProgramInTheHomeDirectory(t *testing.T) {
	dir, program := place(t)
	user := privsep.User{Name: "dffs", UID: os.Geteuid(), Home: dir}
	if filepath.Dir(dir) == "/" {
		t.Fatal("the temporary directory is the root directory")
	}
	c := &checker{Options: Options{User: "dffs"}, account: user}
	found := c.checkProgramOf("deploy", program)
	last := found[len(found)-1]
	if !strings.Contains(last.Message, "as it is in the home directory: move it") || last.Command != "" {
		t.Errorf("got %s, want advice to move it, without a command", last)
	}
}

func TestActions_NoneOrNoUser(t *testing.T) {
	c := &checker{account: privsep.User{Name: "dffs"}}
	if found := checkActions(c); found != nil {
		t.Errorf("no action: got\n%s\nwant nothing", said(found))
	}
	c.settings, c.account = config.Config{Actions: []policy.Action{{Name: "a", Text: "/x"}}}, privsep.User{}
	if found := checkActions(c); found != nil {
		t.Errorf("no user: got\n%s\nwant nothing", said(found))
	}
}

// What check says of a file is what the kernel says to its user.
func TestActions_AsTheKernelSees(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("acting as another user needs root")
	}
	user := privsep.User{Name: "dffs", UID: 12345, GID: 12346, Groups: []int{12346, 12347}, Home: "/nonexistent"}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []int{0, 12345} {
		for _, group := range []int{0, 12346, 12347} {
			for _, mode := range []os.FileMode{0o755, 0o775, 0o757, 0o777, 0o700, 0o722} {
				if err := os.Chown(path, owner, group); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
				// The owner can change the mode, and then the file.
				script := "test -w " + path + " || chmod u+w " + path + " 2>/dev/null"
				cmd := exec.Command("/bin/sh", "-c", script)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12346, Groups: []uint32{12346, 12347}}}
				want := cmd.Run() == nil
				info, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				if why, _ := changeable(info, user); (why != "") != want {
					t.Errorf("owner %d, group %d, mode %o: got %q, want changeable %t", owner, group, mode, why, want)
				}
			}
		}
	}
}

// In a directory such as /tmp only the owner of a link can replace it.
func TestActions_LinkInADirectoryLikeTmp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a link to another user needs root")
	}
	dir, program := place(t)
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.Symlink(program, link), os.Chmod(dir, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	user := privsep.User{Name: "dffs", UID: 12345, Groups: []int{12345}, Home: "/nonexistent"}
	wantWarnings(t, user, link, dir, nil)
	if err := os.Lchown(link, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	wantWarnings(t, user, link, dir, []string{"DIR/link belongs to that user: run chown -h root: DIR/link"})
}
