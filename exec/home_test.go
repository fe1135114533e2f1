package exec

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestACommandAtHomeStartsThereAndAsAnywhere(t *testing.T) {
	r := newTestRunner(t)
	dir := t.TempDir()
	if err := r.SetHome(dir); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd; ls /proc/self/fd | wc -l", Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, MaxOutput: 1000})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		var out strings.Builder
		if _, err := p.Stdout().WriteTo(&out); err != nil || out.String() != dir+"\n4\n" { // ls has the folder open as well
			t.Fatalf("got %q, %v", out.String(), err)
		}
	}
}

func TestAHomeThatIsGoneIsToldAsAnyDirectory(t *testing.T) {
	r := newTestRunner(t)
	dir := t.TempDir() + "/gone"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.SetHome(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	_, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd", Dir: dir})
	if FaultOf(err) != FaultRequest || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Start(Command{Shell: "/no/shell", Text: "pwd", Dir: "/"}); FaultOf(err) != FaultConfiguration {
		t.Errorf("got %v", err)
	}
}

// Not the main thread's signals count, on which the runtime may block all of them, but those that
// children of ordinary threads inherit.
func TestHomeIsLeftToForkersWhereSignalsAreBlocked(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		t.Fatal(err)
	}
	r := newTestRunner(t)
	if err := r.SetHome("/"); err != nil || r.home.dir != "" {
		t.Fatalf("got %q, %v", r.home.dir, err)
	}
	if got := text(&finish(t, start(t, r, command("grep SigBlk /proc/self/status"))).Stdout); got != "SigBlk:\t0000000000000000\n" {
		t.Errorf("the command has %q", got)
	}
}

func TestThenIsCalledOnceWhetherTheCommandHasEndedOrNot(t *testing.T) {
	r := newTestRunner(t)
	for _, text := range []string{"true", "sleep 0.05"} {
		p, err := r.Start(Command{Shell: "/bin/sh", Text: text, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		if text == "true" {
			<-p.Done()
		}
		called := make(chan int, 2)
		p.Then(func() { called <- p.Result().ExitCode })
		if code := <-called; code != 0 {
			t.Errorf("%s: got %d", text, code)
		}
		if len(called) > 0 {
			t.Errorf("%s: called twice", text)
		}
	}
}

// hangingDir is a folder of a file system that answers nothing, until release is called.
func hangingDir(t *testing.T) (dir string, release func()) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to mount")
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	need(t, err == nil, "/dev/fuse")
	dir = t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse)
	if err := unix.Mount("none", dir, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_ = unix.Close(fuse) // whoever waits is told that nobody is there
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return dir, release
}

// A fork holds up Go's scheduler, and collecting garbage with it: it must not be the fork that hangs.
func TestAHomeThatHangsHoldsUpNobodyElse(t *testing.T) {
	r := newTestRunner(t)
	dir, release := hangingDir(t)
	if err := r.SetHome(dir); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd", Dir: dir})
		ended <- err
	}()
	time.Sleep(50 * time.Millisecond)
	collected := make(chan struct{})
	go func() {
		runtime.GC()
		close(collected)
	}()
	select {
	case <-collected:
	case <-time.After(10 * time.Second):
		release()
		t.Fatal("no garbage was collected while it hung")
	}
	if result := finish(t, start(t, r, command("echo well"))); text(&result.Stdout) != "well\n" {
		t.Errorf("got %q", text(&result.Stdout))
	}
	select {
	case err := <-ended:
		t.Fatalf("it did not hang: %v", err)
	default:
	}
	release()
	<-ended
}
