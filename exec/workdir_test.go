package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachResolver runs a test with openat2 and as on a kernel without it.
func eachResolver(t *testing.T, test func(*testing.T, *Runner)) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("without openat2=%v", old), func(t *testing.T) {
			r := newTestRunner(t)
			r.noOpenat2 = r.noOpenat2 || old
			test(t, r)
		})
	}
}

func TestCommandRunsInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	eachResolver(t, func(t *testing.T, r *Runner) {
		for path, want := range map[string]string{dir: dir, link: dir, dir + "/../": filepath.Dir(dir), "/": "/"} {
			c := command("pwd -P")
			c.Dir = path
			if got := text(&finish(t, start(t, r, c)).Stdout); got != want+"\n" {
				t.Errorf("%s: got %q", path, got)
			}
		}
	})
}

func TestUnusableDirectoryIsTheRequestersFault(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	loop := filepath.Join(dir, "loop")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	eachResolver(t, func(t *testing.T, r *Runner) {
		for _, path := range []string{dir + "/missing", file, loop, "/" + strings.Repeat("a/", 5000), dir + "/" + strings.Repeat("a", 300)} {
			c := command("true")
			c.Dir = path
			if _, err := r.Start(c); FaultOf(err) != FaultRequest {
				t.Errorf("%.50s: got %v", path, err)
			}
		}
	})
}

func TestDaemonsOwnDescriptorsAreNoDirectory(t *testing.T) {
	own, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	links := []string{
		fmt.Sprintf("/proc/self/fd/%d", own.Fd()),
		fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), own.Fd()),
		fmt.Sprintf("/proc/thread-self/fd/%d/.", own.Fd()),
		fmt.Sprintf("/dev/fd/%d", own.Fd()),
		"/proc/self/cwd", "/proc/self/root",
	}
	eachResolver(t, func(t *testing.T, r *Runner) {
		for _, path := range links {
			// Without openat2 a link to a link is resolved by its text, which
			// opens nothing that the name alone does not.
			if r.noOpenat2 && strings.HasPrefix(path, "/dev/fd") {
				continue
			}
			c := command("pwd")
			c.Dir = path
			if _, err := r.Start(c); FaultOf(err) != FaultRequest {
				t.Errorf("%s: got %v", path, err)
			}
		}
	})
}

func TestDirectoryDeletedMeanwhileIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flicker")
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Mkdir(dir, 0o755)
				_ = os.Remove(dir)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	r := newTestRunner(t)
	c := command("true")
	c.Dir = dir
	for range 100 {
		p, err := r.Start(c)
		if err != nil && FaultOf(err) != FaultRequest {
			t.Fatalf("got %v", err)
		}
		if err == nil && finish(t, p).ExitCode != 0 {
			t.Fatal("the command failed")
		}
	}
}

func TestDirectoryOfAnotherUserIsRefusedCleanly(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(filepath.Dir(copyOfSelf(t, 0o644)), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	got := asHelper(t, nobody, "run", "pwd", dir)
	if !strings.HasPrefix(got, fmt.Sprint("fault ", int(FaultRequest))) || !strings.Contains(got, dir) {
		t.Fatalf("got %q", got)
	}
	if got := asHelper(t, nobody, "run", "pwd", filepath.Dir(dir)); got != filepath.Dir(dir) {
		t.Fatalf("the folder above: got %q", got)
	}
}

func TestRunnerStaysInItsOwnDirectory(t *testing.T) {
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := command("true")
	c.Dir = t.TempDir()
	run(t, c)
	if after, err := os.Readlink("/proc/self/cwd"); err != nil || after != before {
		t.Fatalf("the daemon moved from %s to %s, %v", before, after, err)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/cwd")
	for _, task := range tasks {
		if at, _ := os.Readlink(task); at == c.Dir {
			t.Errorf("%s still is in the command's directory", task)
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
		_ = unix.Close(fuse)
		// A child may hold the descriptor as well, so closing it tells nobody that there will be no answer.
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return dir, release
}

func TestADirectoryThatHangsHoldsUpNobodyElse(t *testing.T) {
	r := newTestRunner(t)
	for name, begin := range map[string]func(Command) error{
		"before the child is born": func(c Command) error {
			_, err := r.Start(c)
			return err
		},
		"in the child": func(c Command) error {
			dir, err := unix.Open(c.Dir, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(dir)
			_, err = r.fork(c, dir)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, release := hangingDir(t)
			ended := make(chan error, 1)
			go func() { ended <- begin(Command{Shell: "/bin/sh", Text: "pwd", Dir: dir}) }()
			time.Sleep(50 * time.Millisecond)
			collectGarbage(t, release)
			if result := finish(t, start(t, r, command("echo well"))); text(&result.Stdout) != "well\n" {
				t.Errorf("got %q", text(&result.Stdout))
			}
			select {
			case err := <-ended:
				t.Fatalf("it did not hang: %v", err)
			default:
			}
			release()
			if err := <-ended; err == nil {
				t.Error("the command ran in a directory that is not there")
			}
		})
	}
}

// collectGarbage stops the world, for which all that the scheduler does not know to wait would have to return.
func collectGarbage(t *testing.T, otherwise func()) {
	t.Helper()
	collected := make(chan struct{})
	go func() {
		runtime.GC()
		close(collected)
	}()
	select {
	case <-collected:
	case <-time.After(10 * time.Second):
		otherwise()
		t.Fatal("no garbage was collected while it hung")
	}
}
