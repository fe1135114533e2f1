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
)

// A cage is a cgroup made for a test, as systemd makes one for a unit with
// Delegate=yes. Inside runs this program again: it starts as root, does what
// the daemon does before its drop, and becomes a user that nobody else is.
const (
	cageVariable = "SIDECAR_EXEC_CAGE"
	withCgroups  = "cgroups"
	withOrphans  = "orphans"
	cagedUser    = 61617
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
	if cage.way == withCgroups {
		var err error
		if cage.cgroups, err = OpenCgroups(cagedUser, cagedUser); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(cagedUser, cagedUser, cagedUser); err != nil {
		return err
	}
	return syscall.Setresuid(cagedUser, cagedUser, cagedUser)
}

// inCage says whether the test is to go on: outside it runs the test inside.
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
	return false
}

func runCaged(t *testing.T, way string, environment []string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	dir := makeCage(t)
	c := osexec.CommandContext(ctx, copyOfSelf(t, 0o755), append(flags, "-test.v", "-test.short")...)
	c.Dir = "/"
	c.Env = append([]string{cageVariable + "=" + way, "PATH=" + loginPath, "TMPDIR=/tmp"}, environment...)
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
	needRoot(t)
	mount, err := unifiedMount()
	need(t, err == nil, "cgroups of version 2")
	path, err := os.MkdirTemp(mount, "dffs-exec-")
	need(t, err == nil, "the right to make cgroups")
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
		eventually(t, "the cage is removed", func() bool {
			return removeBelow(atRoot, path, 2*subfolders)
		})
	})
	_, err = os.Stat(filepath.Join(path, "cgroup.kill"))
	need(t, err == nil, "cgroup.kill (Linux 5.14)")
	return dir
}

// atRoot serves for calls that are given a whole path.
const atRoot = -1

// useCage gives a test's runner what its cage is for.
func useCage(t testing.TB, r *Runner) {
	t.Helper()
	var err error
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

// What the other tests prove holds in both kinds of cages as well.
func TestAllOfItHoldsInCages(t *testing.T) {
	if cage.way != "" {
		t.Skip("this is the inside")
	}
	const which = "End|Left|Background|Many|Thousand|Told|Holds|Group|Usage|Grace|Killed|Without|Directory|Environment|Limit|Shell"
	const not = "ForkBomb|Escapes|Wished|NoCgroup|Listed|Processor|Orphan|Stolen" // each has a cage of its own, or needs none
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			out := runCaged(t, way, nil, "-test.run", which, "-test.skip", not)
			if t.Failed() {
				t.Log(failures(out))
			}
		})
	}
}

func failures(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== ") && !strings.Contains(line, "--- PASS") && !strings.Contains(line, "--- SKIP") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// folders are the cgroups of commands that are in use.
func folders() []string {
	return slices.DeleteFunc(foldersIn(cage.cgroups.jobs, "."), cage.cgroups.isIdle)
}

func numbersOf(pids []int) string { return strings.Trim(fmt.Sprint(pids), "[]") }
