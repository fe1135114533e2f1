package exec

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// Descriptors get their places even if those are the numbers of others, and nothing else comes
// along: no environment, and no signal that is blocked.
func TestLaunch_Surroundings(t *testing.T) { eachKernel(t, launchSurroundings) }

func launchSurroundings(t *testing.T, r *Runner) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.Setenv("SECRET", "of the daemon")
	open := func(path string, flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	dir := t.TempDir()
	output := open(filepath.Join(dir, "output"), os.O_CREATE|os.O_RDWR)
	null := int(open(os.DevNull, os.O_RDONLY).Fd())
	files := []int{null, int(output.Fd()), int(output.Fd())}
	var links string
	for i := range 6 { // in reverse order
		path := filepath.Join(dir, fmt.Sprint(i))
		files = append(files[:3], append([]int{int(open(path, os.O_CREATE|os.O_RDWR).Fd())}, files[3:]...)...)
		links = path + " " + links
	}
	script := `echo $(env | grep -vc '^PWD=\|^_=\|^SHLVL=') variables in $(pwd);
		for fd in 3 4 5 6 7 8; do printf '%s ' $(readlink /proc/$$/fd/$fd); done; echo
		ls /proc/$$/fd; cut -d' ' -f5 /proc/$$/stat; grep SigBlk /proc/self/status`
	pid, err := Program{File: open("/bin/sh", os.O_RDONLY), Arguments: []string{"sh", "-c", script}, Files: files}.launch(r.spawner, maxBirth)
	if err != nil {
		t.Fatal(err)
	}
	awaitChild(pid)
	if _, err := output.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(output)
	want := fmt.Sprintf("0 variables in /\n%s\n0\n1\n2\n3\n4\n5\n6\n7\n8\n%d\nSigBlk:\t0000000000000000\n", links, pid)
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

func TestLaunch_NoProgram(t *testing.T) {
	directory, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := (Program{File: directory}).Launch(); err != unix.EACCES {
		t.Errorf("a directory: got %d %v, want EACCES", pid, err)
	}
	directory.Close()
	if pid, err := (Program{File: directory}).Launch(); err == nil {
		t.Errorf("a closed file: got process %d, want an error", pid)
	}
	if pid, err := (Program{Files: []int{-1}}).Launch(); err == nil {
		t.Errorf("a closed descriptor: got process %d, want an error", pid)
	}
}

// An execve that is not permitted and not refused, by fanotify, fails after a while, and holds up
// the Go runtime at no time.
func TestLaunch_HangingExecve(t *testing.T) {
	testkit.NeedRoot(t)
	program := copyOfSelf(t, 0o755)
	hold, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(hold)
	err = unix.FanotifyMark(hold, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, program)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		_, err := Program{File: file, Arguments: []string{"x"}}.launch(newSpawner(), time.Second)
		failed <- err
	}()
	testkit.Eventually(t, "the execve hangs", func() bool {
		poll := []unix.PollFd{{Fd: int32(hold), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 100)
		return err == nil && n == 1
	})
	runtime.GC()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "does not start within 1s") {
		t.Errorf("got %v, want a start that takes too long", err)
	}
	noChildren(t)
}
