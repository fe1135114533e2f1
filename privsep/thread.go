package privsep

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ForkThread is the one thread that starts the network roles and executes the next program. The
// parent's death signal of a role is sent when the thread that forked it ends, and an execve ends
// all threads but the one that calls it. After an execve that is the main thread of the process, so
// it must be the main thread before too: main locks its goroutine to it in an init function, and
// gives it to Serve.
type ForkThread struct {
	calls  chan func()
	closed chan struct{}
	close  sync.Once
}

// NewForkThread returns a thread that works as soon as Serve is called.
func NewForkThread() *ForkThread {
	return &ForkThread{calls: make(chan func()), closed: make(chan struct{})}
}

// Serve makes the thread of the caller the fork thread until Close. A role that was started on a
// thread other than the main one dies after that.
func (t *ForkThread) Serve() {
	runtime.LockOSThread()
	for {
		select {
		case call := <-t.calls:
			call()
		case <-t.closed:
			return
		}
	}
}

// Close ends Serve.
func (t *ForkThread) Close() { t.close.Do(func() { close(t.closed) }) }

// do calls f on the thread, and returns when f has.
func (t *ForkThread) do(f func()) error {
	done := make(chan struct{})
	select {
	case t.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-t.closed:
		return errors.New("the thread that starts processes has ended")
	}
}

// Execution is the program that replaces this one, and what it gets.
type Execution struct {
	Program   *os.File
	Argv, Env []string
	Keep      []int  // descriptors that stay open, under their numbers; all else is close-on-exec
	OpenFiles uint64 // soft limit of descriptors; 0: as it was before the runtime raised it
	// Signals is a buffered channel of signal.Notify for SIGTERM, SIGINT and SIGHUP. Nothing may
	// receive from it during Exec. A signal from before signal.Notify is the caller's to look for.
	Signals chan os.Signal
}

// ErrSignal means that nothing was executed, as a signal is in Execution.Signals.
var ErrSignal = errors.New("a signal has arrived")

// Exec executes a program in place of this one. It returns only on failure, and this process then
// is as it was. No process may be started meanwhile.
//
// No signal that asks the daemon to stop is lost. One that has arrived before is in Signals, which
// Exec then returns ErrSignal for. SIGTERM or SIGINT at a later time ends this process, or the
// program until that calls signal.Notify. It cannot wait: the runtime of a program unblocks them at
// its start, before it has handlers. SIGHUP is ignored during that time.
//
// The name of the process is then a number, until SetName.
func (t *ForkThread) Exec(x Execution) error {
	var failed error
	err := t.do(func() { failed = x.exec() })
	return fmt.Errorf("cannot execute the program: %w", errors.Join(err, failed))
}

func (x Execution) exec() error {
	if unix.Gettid() != os.Getpid() {
		return errors.New("this is not the main thread: the network roles would die")
	}
	if cap(x.Signals) == 0 {
		return errors.New("there is no buffered channel of signals")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	syscall.ForkLock.Lock() // no child of the runtime gets the descriptors
	defer syscall.ForkLock.Unlock()
	defer closeAgain(x.Keep)
	for _, fd := range x.Keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d cannot be kept: %w", fd, err)
		}
	}
	if x.OpenFiles != 0 {
		lowered := unix.Rlimit{Cur: min(x.OpenFiles, limit.Max), Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered); err != nil {
			return err
		}
	}
	err := x.execWithoutHandlers()
	return errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
}

// execWithoutHandlers gives SIGTERM and SIGINT their default action before the execve: the thread
// that a handler runs on could be ended with the signal in its hand. What has arrived before that
// is in the channel as soon as signal.Stop returns.
func (x Execution) execWithoutHandlers() error {
	for number, handler := range map[syscall.Signal]uint64{
		syscall.SIGTERM: sigDefault, syscall.SIGINT: sigDefault, syscall.SIGHUP: sigIgnore,
	} {
		before, err := setAction(number, action{handler: handler})
		if err != nil {
			return err
		}
		defer func() { _, _ = setAction(number, before) }()
	}
	signal.Stop(x.Signals)
	defer signal.Notify(x.Signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if len(x.Signals) > 0 {
		return ErrSignal
	}
	// syscall.Exec keeps the runtime from creating a thread meanwhile, which execveat would not.
	path := "/proc/self/fd/" + strconv.Itoa(rawFD(x.Program))
	err := syscall.Exec(path, x.Argv, x.Env)
	runtime.KeepAlive(x.Program)
	return err
}

const sigDefault, sigIgnore = 0, 1

// action is the kernel's struct sigaction.
type action struct{ handler, flags, restorer, mask uint64 }

func setAction(number syscall.Signal, to action) (before action, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION,
		uintptr(number), uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&before)),
		unsafe.Sizeof(to.mask), 0, 0)
	if errno != 0 {
		return before, fmt.Errorf("cannot set the action of %s: %w", unix.SignalName(number), errno)
	}
	return before, nil
}

func closeAgain(descriptors []int) {
	for _, fd := range descriptors {
		unix.CloseOnExec(fd)
	}
}

// SetName sets the name of the calling thread, up to 15 bytes. On the main thread that is the name
// of the process. Other threads get it from the thread that creates them.
func SetName(name string) error {
	text, err := unix.BytePtrFromString(name)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(text)), 0, 0, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot name the process: %w", err)
	}
	return nil
}
