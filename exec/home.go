package exec

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// home is the working directory that the operator configured. Commands that
// start there are forked by whoever asks, without waking a forker: the path is
// nobody's but the operator's, so nothing is to be looked into before the child
// changes to it.
//
// Handing a fork over to a locked thread and back costs four switches between
// threads, a tenth of what a small command takes in all.
type home struct {
	dir  string
	gate chan struct{} // bounds how many fork at once, as the forkers do by their number
}

// SetHome names that directory, an absolute path. It is called before the first
// command. Where the daemon was started with blocked signals, which children
// of its threads would inherit, forkers start every command all the same.
func (r *Runner) SetHome(dir string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Not /proc/self, the main thread: the runtime may keep its handling of
	// signals on it, with all of them blocked.
	status, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/status")
	if err != nil {
		return err
	}
	blocked, err := signalSet(status, "SigBlk")
	if err != nil || blocked != 0 {
		return err
	}
	r.home = home{dir: dir, gate: make(chan struct{}, forksAtOnce)}
	return nil
}

// start forks here and now. An error is no more than a hint to let a forker
// try: it tells precisely what the matter is.
func (h home) start(f *fork) error {
	// Should the home's file system hang, then here and not in the child: a fork holds up the Go scheduler.
	if err := unix.Faccessat(unix.AT_FDCWD, h.dir, unix.X_OK, 0); err != nil {
		return err
	}
	h.gate <- struct{}{}
	defer func() { <-h.gate }()
	return f.run(&forker{path: h.dir})
}
