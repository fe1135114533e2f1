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

	"dataflux-func-sidecar/test/testkit"
)

func TestWorkdir_MissingHome(t *testing.T) {
	r := newTestRunner(t)
	home := filepath.Join(tempDir(t), "home")
	c := command("pwd; echo $HOME")
	c.Dir, c.HomeOrRoot, c.Env = home, true, []string{"HOME=" + home, "PATH=" + loginPath}
	for _, step := range []struct {
		do       func() error
		want     string
		homeless bool
	}{
		{func() error { return nil }, "/\n/\n", true},
		{func() error { return os.Mkdir(home, 0o755) }, home + "\n" + home + "\n", false},
		{func() error { return os.Remove(home) }, "/\n/\n", true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		p := start(t, r, c)
		if got := text(&finish(t, p).Stdout); got != step.want || p.Homeless() != step.homeless {
			t.Errorf("got %q, homeless %v; want %q, %v",
				got, p.Homeless(), step.want, step.homeless)
		}
	}
	c.HomeOrRoot = false
	if _, err := r.Start(c); FaultOf(err) != FaultRequest {
		t.Errorf("a directory of the request: got %v, want the request's fault", err)
	}
}

// eachResolver runs a test with openat2 and as on a kernel without it.
func eachResolver(t *testing.T, test func(*testing.T, *Runner)) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("without openat2=%v", old), func(t *testing.T) {
			r := newTestRunner(t)
			r.spawner.openat2 = r.spawner.openat2 && !old
			test(t, r)
		})
	}
}

func TestWorkdir_Entered(t *testing.T) {
	dir := tempDir(t)
	link := filepath.Join(tempDir(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	eachResolver(t, func(t *testing.T, r *Runner) {
		for path, want := range map[string]string{
			dir: dir, link: dir, dir + "/../": filepath.Dir(dir), "/": "/",
		} {
			c := command("pwd -P")
			c.Dir = path
			if got := text(&finish(t, start(t, r, c)).Stdout); got != want+"\n" {
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
		}
	})
}

func TestWorkdir_Unusable(t *testing.T) {
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
		for _, path := range []string{
			dir + "/missing", file, loop,
			"/" + strings.Repeat("a/", 5000), dir + "/" + strings.Repeat("a", 300),
		} {
			c := command("true")
			c.Dir = path
			if _, err := r.Start(c); FaultOf(err) != FaultRequest {
				t.Errorf("%.50s: got %v, want the request's fault", path, err)
			}
		}
	})
}

func TestWorkdir_MagicLinks(t *testing.T) {
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
			c := command("pwd")
			c.Dir = path
			if _, err := r.Start(c); FaultOf(err) != FaultRequest {
				t.Errorf("%s: got %v, want the request's fault", path, err)
			}
		}
	})
}

func TestWorkdir_DeletedMeanwhile(t *testing.T) {
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
			t.Fatalf("got %v, want the request's fault", err)
		}
		if err == nil && finish(t, p).ExitCode != 0 {
			t.Fatal("the command failed")
		}
	}
}

func TestWorkdir_OtherUsers(t *testing.T) {
	testkit.NeedRoot(t)
	dir := filepath.Join(filepath.Dir(copyOfSelf(t, 0o644)), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	got := asHelper(t, nobody, "run", "pwd", dir)
	want := fmt.Sprint("fault ", int(FaultRequest))
	if !strings.HasPrefix(got, want) || !strings.Contains(got, dir) {
		t.Fatalf("got %q, want %q with %s", got, want, dir)
	}
	if got := asHelper(t, nobody, "run", "pwd", filepath.Dir(dir)); got != filepath.Dir(dir) {
		t.Fatalf("the folder above: got %q, want its path", got)
	}
}

func TestWorkdir_OfTheDaemon(t *testing.T) {
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := command("true")
	c.Dir = tempDir(t)
	run(t, c)
	if after, err := os.Readlink("/proc/self/cwd"); err != nil || after != before {
		t.Fatalf("the daemon's directory: got %s, %v; want %s", after, err, before)
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
	dir, _, release = mountFUSE(t)
	return dir, release
}

// mountFUSE mounts a file system whose requests are read from a descriptor, until release is called.
func mountFUSE(t *testing.T) (dir string, requests int, release func()) {
	t.Helper()
	testkit.Need(t, os.Geteuid() == 0, "needs root, to mount")
	requests, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	testkit.Need(t, err == nil, "needs /dev/fuse")
	dir = t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", requests)
	if err := unix.Mount("none", dir, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		// A child may hold the descriptor as well, so closing it does not say that there will be no
		// answer.
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		_ = unix.Close(requests)
	})
	t.Cleanup(release)
	return dir, requests, release
}

func TestWorkdir_Hangs(t *testing.T) {
	r := newTestRunner(t)
	r.maxBirth = 1500 * time.Millisecond
	dir, release := hangingDir(t)
	const hanging = 12 // more than can be born at once
	ended := make(chan error, hanging)
	for range hanging {
		go func() {
			_, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd", Dir: dir})
			ended <- err
		}()
	}
	time.Sleep(50 * time.Millisecond)
	collectGarbage(t, release)
	for range 20 {
		runsWell(t, r)
	}
	for range hanging {
		err := <-ended
		hangs := fmt.Sprintf("the working directory %q does not answer", dir)
		if FaultOf(err) != FaultHost || !strings.Contains(err.Error(), hangs) {
			t.Errorf("got %v, want %q", err, hangs)
		}
	}
}

// collectGarbage stops the world, for which all that the scheduler does not know to wait would have
// to return.
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
