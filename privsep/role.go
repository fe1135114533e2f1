package privsep

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/handover"
)

// Descriptors of a role: its end of the channel, and the first of its listening sockets.
const (
	ChannelFD       = 3
	FirstListenerFD = 4
)

// Bounds of what a role may write to standard error in its life: lines, and bytes of a line.
const (
	maxLines      = 100
	maxLineLength = 4096
)

// maxDeath bounds the wait for a process that was killed. It is reaped later then.
const maxDeath = time.Second

// Role is a running network role, as its parent sees it.
type Role struct {
	Channel *os.File // the parent's end; closing it ends the role
	PID     int
	output  *lineReader
	exited  chan struct{}
	status  syscall.WaitStatus // valid after exited

	mu       sync.Mutex // held to reap, and to signal a process that is not reaped yet
	reaped   bool
	kept     bool      // it was handed over, so the successor reaps it
	released sync.Cond // kept is false
}

func newRole(channel *os.File) *Role {
	r := &Role{Channel: channel, exited: make(chan struct{})}
	r.released.L = &r.mu
	return r
}

// StartRole executes this program again with arguments, an empty environment, and no descriptors
// but standard error, the channel and the listening sockets. Standard error is a pipe: say gets its
// first maxLines lines, and the rest is dropped. The role dies with this process, by the end of the
// channel or by SIGKILL. It has the real user and group of this process in all of its ids. It keeps
// the groups, which only root could take from it.
func (t *ForkThread) StartRole(
	arguments []string, listeners []*os.File, say func(line string),
) (*Role, error) {
	ours, theirs, err := channelPair()
	if err != nil {
		return nil, fmt.Errorf("cannot make the channel to the network role: %w", err)
	}
	defer syscall.Close(theirs)
	role := newRole(ours)
	if err := role.start(t, arguments, theirs, listeners, say); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("cannot start the network role: %w", err)
	}
	// The child shared this memory when it changed its ids. After that the memory is as dumpable as
	// fs.suid_dumpable says.
	if err := SetNonDumpable(); err != nil {
		role.Kill()
		_ = ours.Close()
		return nil, err
	}
	return role, nil
}

// channelPair returns a connected pair of sockets. The parent's end is in the runtime's poller.
func channelPair() (ours *os.File, theirs int, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	if err := syscall.SetNonblock(pair[0], true); err != nil {
		return nil, -1, errors.Join(err, syscall.Close(pair[0]), syscall.Close(pair[1]))
	}
	return os.NewFile(uintptr(pair[0]), "channel"), pair[1], nil
}

func (r *Role) start(
	t *ForkThread, args []string, channel int, listeners []*os.File, say func(string),
) error {
	output, stderr, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = stderr.Close() }()
	r.output = newLineReader(output, say)
	go r.output.run()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	program := exec.Program{
		Arguments: args,
		Files:     []int{rawFD(null), rawFD(null), rawFD(stderr), channel},
	}
	for _, l := range listeners {
		program.Files = append(program.Files, rawFD(l))
	}
	var failed error
	err = t.do(func() { r.PID, failed = program.Launch() })
	runtime.KeepAlive(listeners)
	if err = errors.Join(err, failed); err == nil {
		go r.wait()
	}
	return err
}

// rawFD avoids File.Fd, which may make a descriptor blocking that is shared with the role.
func rawFD(f *os.File) int {
	fd := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// wait reaps the role when it has ended. Any thread may wait for the child of another one.
func (r *Role) wait() {
	for unix.Waitid(unix.P_PID, r.PID, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	r.mu.Lock()
	for r.kept {
		r.released.Wait()
	}
	_, _ = syscall.Wait4(r.PID, &r.status, 0, nil)
	r.reaped = true
	r.mu.Unlock()
	close(r.exited)
}

// Exited is closed when the role has ended and was reaped.
func (r *Role) Exited() <-chan struct{} { return r.exited }

// Status describes how the role ended. It may be called only after Exited or Kill.
func (r *Role) Status() string {
	select {
	case <-r.exited:
	default:
		return "killed, and hangs in the kernel"
	}
	if r.status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", r.status.Signal(), r.status.Signal())
	}
	return fmt.Sprintf("exit status %d", r.status.ExitStatus())
}

// Kill ends the role, and returns when it is gone, or after maxDeath: a thread that hangs in the
// kernel, for example on a disk, must not hold up the next role. It must not be called between
// HandOver and Resume.
func (r *Role) Kill() {
	r.mu.Lock()
	if !r.reaped { // otherwise another process may have the id by now
		_ = syscall.Kill(r.PID, syscall.SIGKILL)
	}
	r.mu.Unlock()
	select {
	case <-r.exited:
	case <-time.After(maxDeath):
	}
}

// RoleState is a role as one daemon hands it over to its successor, which is the same process after
// an execve.
type RoleState struct {
	PID     int
	Ended   bool   // it was reaped, with Status
	Status  uint32 // of wait4
	Channel int    // descriptor; 0: it is closed
	Stderr  int    // descriptor of the pipe's reading end; 0: it is closed
	Lines   int    // lines that were read from it
	Rest    []byte // the start of the next line, up to maxLineLength bytes
}

// HandOver keeps the channel and standard error of the role open over the execve. From then on
// neither standard error is read nor is the role reaped. If the execve fails, Resume ends that.
func (r *Role) HandOver(w *handover.Writer) RoleState {
	r.mu.Lock()
	r.kept = true
	s := RoleState{PID: r.PID, Ended: r.reaped, Status: uint32(r.status)}
	r.mu.Unlock()
	if fd := rawFD(r.Channel); fd >= 0 {
		s.Channel = w.Keep(fd)
	}
	if r.output != nil {
		r.output.handOver(w, &s)
	}
	return s
}

// Resume goes on as before HandOver.
func (r *Role) Resume() {
	r.mu.Lock()
	r.kept = false
	r.mu.Unlock()
	r.released.Broadcast()
	if r.output != nil {
		r.output.resume()
	}
}

// AdoptRole returns the role of the predecessor. If it has ended meanwhile, Exited and Status tell
// as ever. say gets the lines that are left to it.
//
// After an error the descriptors stay open, and the role lives until the channel is closed.
func AdoptRole(s RoleState, say func(line string)) (*Role, error) {
	cannot := func(cause error) error {
		return fmt.Errorf("cannot take over network role %d: %w", s.PID, cause)
	}
	if len(s.Rest) > maxLineLength {
		return nil, cannot(fmt.Errorf("the start of a line has %d bytes", len(s.Rest)))
	}
	// A child that is not reaped keeps its process id, so no other process is meant.
	if !s.Ended {
		err := unix.Waitid(unix.P_PID, s.PID, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err != nil {
			return nil, cannot(err)
		}
	}
	channel, err := adoptFile(s.Channel, "channel", unix.S_IFSOCK)
	if err != nil {
		return nil, cannot(err)
	}
	output, err := adoptFile(s.Stderr, "stderr", unix.S_IFIFO)
	if err != nil {
		return nil, cannot(err)
	}
	r := newRole(channel)
	r.PID, r.status, r.reaped = s.PID, syscall.WaitStatus(s.Status), s.Ended
	if output != nil {
		r.output = newLineReader(output, say)
		r.output.lines, r.output.rest = s.Lines, s.Rest
		go r.output.run()
	}
	if s.Ended {
		close(r.exited)
	} else {
		go r.wait()
	}
	return r, nil
}

// adoptFile makes a descriptor of the given type close-on-exec again, and returns it as a file in
// the runtime's poller. Descriptor 0 means that there is none.
func adoptFile(fd int, name string, kind uint32) (*os.File, error) {
	if fd == 0 {
		return nil, nil
	}
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return nil, fmt.Errorf("its %s, descriptor %d: %w", name, fd, err)
	}
	if s.Mode&unix.S_IFMT != kind {
		return nil, fmt.Errorf("descriptor %d is not its %s", fd, name)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// lineReader reads the standard error of a role to its end. It says the first maxLines lines, and
// drops the rest. A line that is too long comes in pieces.
type lineReader struct {
	file   *os.File
	say    func(line string)
	paused atomic.Bool

	mu      sync.Mutex // held while it reads, but not in a pause
	resumed sync.Cond
	lines   int
	rest    []byte // the start of a line
	ended   bool
}

func newLineReader(file *os.File, say func(line string)) *lineReader {
	l := &lineReader{file: file, say: say}
	l.resumed.L = &l.mu
	return l
}

// run returns when the last writer has closed the pipe.
func (l *lineReader) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	buffer := make([]byte, maxLineLength)
	for !l.ended {
		for l.paused.Load() {
			l.resumed.Wait()
		}
		n, err := l.file.Read(buffer)
		l.add(buffer[:n])
		pause := l.paused.Load() && errors.Is(err, os.ErrDeadlineExceeded)
		l.ended = err != nil && !pause
	}
	l.finishLine()
	_ = l.file.Close()
}

func (l *lineReader) add(p []byte) {
	for len(p) > 0 && l.lines <= maxLines {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		n = min(n, maxLineLength-len(l.rest))
		l.rest, p = append(l.rest, p[:n]...), p[n:]
		if l.rest[len(l.rest)-1] == '\n' || len(l.rest) == maxLineLength {
			l.finishLine()
		}
	}
}

func (l *lineReader) finishLine() {
	line := strings.TrimRight(string(l.rest), "\n")
	l.rest = l.rest[:0]
	if line == "" || l.lines > maxLines {
		return
	}
	if l.lines++; l.lines > maxLines {
		line = fmt.Sprintf("(more than %d lines: the rest is dropped)", maxLines)
	}
	l.say(line)
}

// handOver pauses the reading.
func (l *lineReader) handOver(w *handover.Writer, s *RoleState) {
	l.paused.Store(true)
	_ = l.file.SetReadDeadline(time.Unix(1, 0)) // so that run releases mu; it fails at the end only
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Lines, s.Rest = l.lines, bytes.Clone(l.rest)
	if !l.ended {
		s.Stderr = w.Keep(rawFD(l.file))
	}
}

func (l *lineReader) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused.Store(false)
	_ = l.file.SetReadDeadline(time.Time{})
	l.resumed.Broadcast()
}
