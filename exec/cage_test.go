package exec

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// A cage is a cgroup made for a test, as systemd makes one for a unit with
// Delegate=yes. Inside runs this program again: it starts as root, does what
// the daemon does before its drop, and drops as the daemon does.
const (
	cageVariable = "SIDECAR_EXEC_CAGE"
	// controllersVariable is set if the cage is to use controllers.
	controllersVariable = "SIDECAR_EXEC_CONTROLLERS"
	withCgroups         = "cgroups"
	withOrphans         = "orphans"
	cagedUser           = 61617 // of commands
	cagedRole           = 61618 // of the daemon
)

// cage is what the program knows when it runs in one.
var cage struct {
	way     string
	cgroups *Cgroups
}

// enterCage is called first in a program that was started in a cage.
func enterCage() error {
	cage.way = os.Getenv(cageVariable)
	if cage.way == "" {
		return nil
	}
	owner := cagedRole
	if hasCgo() {
		owner = cagedUser
	}
	if cage.way == withCgroups {
		var err error
		if cage.cgroups, err = OpenCgroups(owner, owner, 1024); err != nil {
			return err
		}
		if os.Getenv(controllersVariable) == "" {
			cage.cgroups.controllers.unit = -1 // as on a host without, which most are that test
		}
	}
	if err := syscall.Setgroups([]int{cagedUser}); err != nil {
		return err
	}
	return dropInCage()
}

// hasCgo reports whether this binary has cgo, as with the race detector, and cannot set the file
// system ids on all threads.
func hasCgo() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno == syscall.ENOTSUP
}

func dropInCage() error {
	if err := syscall.Setresgid(cagedRole, cagedUser, cagedRole); err != nil {
		return err
	}
	if err := syscall.Setresuid(cagedRole, cagedUser, cagedRole); err != nil {
		return err
	}
	if hasCgo() {
		return nil
	}
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_SETFSGID, cagedRole, 0, 0)
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_SETFSUID, cagedRole, 0, 0)
	return nil
}

// inCage reports whether the test is to go on: outside it runs the test inside.
func inCage(t *testing.T, way string, environment ...string) bool {
	t.Helper()
	if cage.way != "" {
		if cage.way != way {
			t.Skip("this test is for another kind of cage")
		}
		return true
	}
	out := runCaged(t, way, environment, "-test.run", "^"+t.Name()+"$")
	if !strings.Contains(out, "--- PASS: "+t.Name()) {
		t.Errorf("in the cage:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return false
}

func runCaged(t *testing.T, way string, environment []string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir := makeCage(t)
	flags = append(flags, "-test.v", "-test.short")
	c := osexec.CommandContext(ctx, copyOfSelf(t, 0o755), flags...)
	c.Dir = "/"
	c.Env = []string{cageVariable + "=" + way, "PATH=" + loginPath, "TMPDIR=/tmp"}
	c.Env = append(c.Env, environment...)
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("the caged program: %v", err)
	}
	return string(out)
}

// makeCage makes the cgroup, and later ends what is in it.
func makeCage(t *testing.T) *os.File {
	t.Helper()
	testkit.NeedRoot(t)
	mount, err := unifiedMount()
	testkit.Need(t, err == nil, "needs cgroups of version 2")
	path, err := os.MkdirTemp(mount, "dffs-exec-")
	testkit.Need(t, err == nil, "needs the right to make cgroups")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dir.Close()
		_ = os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
		testkit.Eventually(t, "the cage is removed", func() bool {
			return removeTree(path)
		})
	})
	_, err = os.Stat(filepath.Join(path, "cgroup.freeze"))
	testkit.Need(t, err == nil, "needs cgroup.freeze (Linux 5.2)")
	return dir
}

// removeTree removes a cgroup with those below it, once they are empty.
func removeTree(path string) bool {
	entries, _ := os.ReadDir(path)
	for _, entry := range entries {
		if entry.IsDir() {
			removeTree(filepath.Join(path, entry.Name()))
		}
	}
	return unix.Rmdir(path) == nil
}

// useCage gives a test's runner what its cage is for.
func useCage(t testing.TB, r *Runner) {
	t.Helper()
	var err error
	if cage.way != "" {
		if err := r.RunAs(cagedUser, cagedUser); err != nil {
			t.Fatal(err)
		}
	}
	switch cage.way {
	case withCgroups:
		err = r.UseCgroups(cage.cgroups)
	case withOrphans:
		err = r.AdoptOrphans()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isIdle reports whether the cgroup waits for its next command.
func (c *Cgroups) isIdle(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.idle, func(i *cgroup) bool { return i.name == name })
}

// folders are the cgroups of commands that are in use.
func folders() []string {
	return slices.DeleteFunc(cage.cgroups.names(), cage.cgroups.isIdle)
}

func numbersOf(pids []int) string { return strings.Trim(fmt.Sprint(pids), "[]") }

func cagePath() string {
	if cage.cgroups == nil {
		return ""
	}
	path, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", cage.cgroups.jobs))
	return path
}
