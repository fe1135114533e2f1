package privsep

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ChannelFD is the role's end of the channel; its listening sockets follow from FirstListenerFD on.
const (
	ChannelFD       = 3
	FirstListenerFD = 4
)

// Role is a running network role, as its parent sees it.
type Role struct {
	// Channel is the parent's end of the channel. Closing it ends the role.
	Channel *os.File
	PID     int
	exited  chan struct{}
	status  syscall.WaitStatus

	mu     sync.Mutex // held to reap, and to signal what is not reaped yet
	reaped bool
}

// StartRole executes this program again with arguments, an empty environment, and nothing open but
// standard error, the channel and the listening sockets. The role dies with this process: by the end
// of the channel, or by SIGKILL should it not heed that.
func StartRole(arguments []string, listeners []*os.File) (*Role, error) {
	ours, theirs, err := channelPair()
	if err != nil {
		return nil, err
	}
	defer syscall.Close(theirs)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("cannot start the network role: %w", err)
	}
	defer func() { _ = null.Close() }()
	files := []uintptr{null.Fd(), null.Fd(), 2, uintptr(theirs)}
	for _, l := range listeners {
		files = append(files, rawFD(l))
	}
	role := &Role{Channel: ours, exited: make(chan struct{})}
	if err := role.start(arguments, files); err != nil {
		_ = ours.Close()
		return nil, err
	}
	runtime.KeepAlive(listeners)
	return role, nil
}

// channelPair returns a connected pair of sockets; the parent's end waits in the runtime's poller.
func channelPair() (*os.File, int, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot make the channel to the network role: %w", err)
	}
	if err := syscall.SetNonblock(pair[0], true); err != nil {
		return nil, -1, errors.Join(err, syscall.Close(pair[0]), syscall.Close(pair[1]))
	}
	return os.NewFile(uintptr(pair[0]), "channel"), pair[1], nil
}

// rawFD avoids File.Fd, which may make a descriptor blocking that is shared with the role.
func rawFD(f *os.File) uintptr {
	fd := ^uintptr(0)
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = n })
	}
	return fd
}

// start forks on a thread of its own, which stays until the role has ended: the parent's death signal
// follows the thread that forked, not the process.
func (r *Role) start(arguments []string, files []uintptr) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		pid, err := syscall.ForkExec(ownProgram, arguments, &syscall.ProcAttr{
			Dir: "/", Env: []string{}, Files: files,
			Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		})
		r.PID = pid
		started <- err
		if err == nil {
			r.wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("cannot start the network role: %w", err)
	}
	return nil
}

func (r *Role) wait() {
	for unix.Waitid(unix.P_PID, r.PID, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	r.mu.Lock()
	_, _ = syscall.Wait4(r.PID, &r.status, 0, nil)
	r.reaped = true
	r.mu.Unlock()
	close(r.exited)
}

// Exited is closed when the role has ended and was reaped; then Status tells how.
func (r *Role) Exited() <-chan struct{} { return r.exited }

// Status says in words how the role ended. It may only be called after Exited.
func (r *Role) Status() string {
	if r.status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", r.status.Signal(), r.status.Signal())
	}
	return fmt.Sprintf("exit status %d", r.status.ExitStatus())
}

// Kill ends the role at once and waits until it is gone.
func (r *Role) Kill() {
	r.mu.Lock()
	if !r.reaped { // else the id may be another process's by now
		_ = syscall.Kill(r.PID, syscall.SIGKILL)
	}
	r.mu.Unlock()
	<-r.exited
}
