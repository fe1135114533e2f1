package exec

import (
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// forker starts commands on a thread of its own, of which they inherit what
// belongs to a thread: an empty signal mask, and the working directory. The
// directory is entered before the fork, because a child that goes through
// /proc/self/fd pays a twentieth of its whole start for looking itself up.
type forker struct {
	ownDir bool   // the thread's working directory is shared with no other thread
	path   string // not empty: the child itself changes to this path, as at home
}

// startForker returns when a forker serves until there are no more forks. A few
// of them are the gate that bounds how many forks run at once.
func startForker(forks <-chan *fork) {
	ready := make(chan struct{})
	go prepareForker(forks, ready)
	<-ready
}

func prepareForker(forks <-chan *fork, ready chan<- struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread's directory is the process's for all who look, so it
		// is kept busy until the forker has got another.
		startForker(forks)
		runtime.UnlockOSThread()
		close(ready)
		return
	}
	w := newForker()
	close(ready)
	w.work(forks) // the thread ends with it, as it is never unlocked
}

// newForker makes the thread it runs on a forker's.
func newForker() *forker {
	var none unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
	// Some containers forbid it; then the child finds its own way.
	return &forker{ownDir: unix.Unshare(unix.CLONE_FS) == nil}
}

func (w *forker) work(forks <-chan *fork) {
	for f := range forks {
		f.err = f.run(w)
		close(f.done)
	}
}

// enter prepares for a fork into dir. The child has to change to path, if there
// is one.
func (w *forker) enter(dir int) (path string, err error) {
	if w.path != "" {
		return w.path, nil
	}
	if w.ownDir {
		return "", unix.Fchdir(dir)
	}
	return "/proc/self/fd/" + strconv.Itoa(dir), nil
}

// leave goes back: staying would keep a file system from being unmounted.
func (w *forker) leave() {
	if w.ownDir {
		_ = unix.Chdir("/")
	}
}
