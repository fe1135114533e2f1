package exec

import (
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/worker"
)

// pipeSet is what all pipes share, and a list of those that are open.
type pipeSet struct {
	gate    *gate
	buffers *bufferPool

	mu   sync.Mutex
	open map[*pipes]struct{}
}

func newPipeSet(g *gate) *pipeSet {
	return &pipeSet{gate: g, buffers: newBufferPool(), open: make(map[*pipes]struct{})}
}

// pipes are the two pipes of a command. They do not refer to its Process, so that draining them for
// a background process keeps no output in memory.
type pipes struct {
	pid            int // of the shell, also after its end
	stdout, stderr pipe

	open      atomic.Int32  // pipes that are not at their end
	closed    chan struct{} // closed when none is open
	releasing atomic.Bool   // the daemon's copies of the writing ends are being closed
}

// maxReads is how many reads of a pipe may follow each other before others have a turn.
const maxReads = 64

// pipe reads one of them until its last writer has closed it: into an Output until that is
// complete, and afterwards to nowhere.
//
// A command has the other end, and can block any system call on this one, as it holds the pipe's
// lock through a page fault that is never answered. So only the pipe's own goroutine makes such
// calls, as ordinary system calls and without mu.
type pipe struct {
	fd      int
	poller  *poller
	null    *os.File
	buffers *bufferPool
	gate    *gate
	atEnd   func() // called once, at the end of the pipe

	late   atomic.Int64 // bytes dropped after the result
	events atomic.Int64 // since reading began, 0 while nothing reads

	reading sync.Mutex // held during calls on the pipe
	wide    bool       // enlarged; needs reading
	closed  bool       // needs reading

	mu     sync.Mutex
	output *Output // nil once it is complete or abandoned
}

// stream is a pipe to read from.
type stream struct {
	fd     int     // -1: the pipe is at its end
	output *Output // nil: what is read is dropped
	wide   bool    // the pipe is enlarged
}

// start starts to read the output of the command with the process id.
func (s *pipeSet) start(pid int, poller *poller, null *os.File, stdout, stderr stream) *pipes {
	both := &pipes{pid: pid, closed: make(chan struct{})}
	both.open.Store(2)
	atEnd := func() {
		if both.open.Add(-1) == 0 {
			s.remove(both)
			close(both.closed)
		}
	}
	for p, from := range map[*pipe]stream{&both.stdout: stdout, &both.stderr: stderr} {
		p.fd, p.output, p.atEnd, p.poller, p.null = from.fd, from.output, atEnd, poller, null
		p.gate, p.buffers = s.gate, s.buffers
		p.closed = p.fd < 0
		p.wide = from.wide && s.buffers.takeWide()
	}
	s.mu.Lock()
	s.open[both] = struct{}{}
	s.mu.Unlock()
	both.stdout.start()
	both.stderr.start()
	return both
}

func (s *pipeSet) remove(both *pipes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, both)
}

// list lists the pipes that are open.
func (s *pipeSet) list() []*pipes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.open))
}

// blocked returns the process id of a shell whose pipe blocks a system call, 0 if there is none.
func (s *pipeSet) blocked() (pid int) {
	for _, both := range s.list() {
		if both.releasing.Load() || both.stdout.isBlocked() || both.stderr.isBlocked() {
			return both.pid
		}
	}
	return 0
}

// isBlocked reports whether a call on the pipe has not returned.
func (p *pipe) isBlocked() bool {
	if !p.reading.TryLock() {
		return true
	}
	p.reading.Unlock()
	return false
}

func (p *pipe) start() {
	if p.fd < 0 {
		p.atEnd()
		return
	}
	if p.poller.watch(p.fd, watchOutput, p.ready) == nil {
		return
	}
	// The kernel lets this user watch no more descriptors. Then a thread waits.
	go func() {
		for {
			ended, paused := p.drainInside()
			if ended {
				return
			}
			if !paused {
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, -1)
			}
		}
	}()
}

// ready is called by the poller. Events are edge-triggered: one that comes while the pipe is being
// drained makes run drain it once more.
func (p *pipe) ready() {
	if p.events.Add(1) == 1 {
		worker.Go(p.run)
	}
}

func (p *pipe) run() {
	for {
		seen := p.events.Load()
		ended, paused := p.drainInside()
		if ended {
			return // events stays above 0: nothing reads any more
		}
		if !paused && p.events.CompareAndSwap(seen, 0) {
			return
		}
	}
}

// drainInside is drain inside the gate. It closes a pipe that has ended.
func (p *pipe) drainInside() (ended, paused bool) {
	p.gate.enter()
	defer p.gate.leave()
	if ended, paused = p.drain(); ended {
		p.poller.forget(p.fd)
		p.close()
	}
	return ended, paused
}

// drain reads until the pipe is empty, and reports whether that was its end; an error is one. It
// pauses when the daemon is to come to rest, and after maxReads: a command may write faster than it
// is read, and complete waits for the same lock.
func (p *pipe) drain() (ended, paused bool) {
	p.reading.Lock()
	defer p.reading.Unlock()
	for reads := 0; reads < maxReads && !p.gate.closing.Load(); reads++ {
		n, err := p.readOnce(pipeSize)
		switch {
		case err == unix.EAGAIN:
			return false, false
		case err != nil || n == 0:
			return true, false
		}
	}
	return false, true
}

// readOnce reads or drops at most `most` bytes. It needs reading.
func (p *pipe) readOnce(most int) (n int, err error) {
	output := p.attached()
	switch {
	case output == nil:
		n, err = p.drop(most)
		p.late.Add(int64(n))
	case output.mask.Load() != nil:
		n, err = p.readMasked(output, most)
	case output.isFull():
		n, err = p.readBehind(output, most)
	default:
		b := output.borrow(most)
		n, err = readPipe(p.fd, b.space)
		if !p.keep(n, func() { output.commit(b, n) }) {
			output.giveBack(b, n)
		} else if output.isLarge() {
			p.widen()
		}
	}
	return n, err
}

// readBehind reads or drops at most `most` bytes behind the start that is kept. Bytes that the end
// would not keep, as more are in the pipe behind them, are dropped. It needs reading.
func (p *pipe) readBehind(output *Output, most int) (n int, err error) {
	extra := most
	if end := output.tail.limit; end > 0 {
		extra = 0
		if p.wide { // else hardly more is in the pipe than one read takes
			extra = min(p.buffered(), most) - end
		}
	}
	if extra > 0 {
		n, err = p.drop(extra)
		p.keep(n, func() { output.addDropped(n) })
		return n, err
	}
	scratch := p.buffers.scratch()
	defer p.buffers.scratches.Put(scratch)
	n, err = readPipe(p.fd, scratch[:min(most, len(scratch))])
	p.keep(n, func() { output.addTail(scratch[:n]) })
	return n, err
}

// readMasked reads at most `most` bytes and keeps them masked. It needs reading.
func (p *pipe) readMasked(output *Output, most int) (n int, err error) {
	in, out := p.buffers.scratch(), p.buffers.scratch()
	defer p.buffers.scratches.Put(in)
	defer p.buffers.scratches.Put(out)
	n, err = readPipe(p.fd, in[:min(most, len(in)-MaxSecret)])
	if p.keep(n, func() { output.addMasked(out[:0], in[:n]) }) && output.isLarge() {
		p.widen()
	}
	return n, err
}

func (p *pipe) attached() *Output {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output
}

// keep calls f for n bytes that were read, and returns true. If the output was detached meanwhile,
// they are late.
func (p *pipe) keep(n int, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.output == nil {
		p.late.Add(int64(n))
		return false
	}
	f()
	return true
}

// widen enlarges the pipe of a command that writes much, so that the two sides switch less often.
// Where the budget does not allow it nothing is lost. It needs reading.
func (p *pipe) widen() {
	if p.wide || !p.buffers.takeWide() {
		return
	}
	p.wide = true
	_, _ = unix.FcntlInt(uintptr(p.fd), unix.F_SETPIPE_SZ, pipeSize)
}

// drop moves bytes to /dev/null inside the kernel, which takes neither memory nor a copy, however
// much a command writes. It needs reading.
func (p *pipe) drop(most int) (int, error) {
	const flags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE
	for {
		n, err := unix.Splice(p.fd, nil, int(p.null.Fd()), nil, most, flags)
		switch err {
		case unix.EINTR:
		case nil, unix.EAGAIN:
			return int(max(n, 0)), err
		default: // this /dev/null takes no splice
			scratch := p.buffers.scratch()
			defer p.buffers.scratches.Put(scratch)
			return readPipe(p.fd, scratch[:min(most, len(scratch))])
		}
	}
}

// complete reads what is in the pipe at this moment, no more, and detaches the output: a background
// process that goes on writing delays no result. It blocks for as long as the pipe is locked.
func (p *pipe) complete() {
	p.reading.Lock()
	defer p.reading.Unlock()
	for left := p.buffered(); left > 0 && p.attached() != nil; {
		n, err := p.readOnce(left)
		if err != nil || n == 0 {
			break
		}
		left -= n
	}
	if output := p.detach(); output != nil {
		output.seal()
	}
}

// buffered is the number of bytes in the pipe. It needs reading.
func (p *pipe) buffered() int {
	if p.closed {
		return 0
	}
	n, err := unix.IoctlGetInt(p.fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

// abandon detaches the output although a read may be in progress, and reports whether it was
// attached.
func (p *pipe) abandon() bool {
	output := p.detach()
	if output != nil {
		output.abandon()
	}
	return output != nil
}

func (p *pipe) detach() *Output {
	p.mu.Lock()
	defer p.mu.Unlock()
	output := p.output
	p.output = nil
	return output
}

func (p *pipe) close() {
	p.reading.Lock()
	p.closed = true
	unix.Close(p.fd)
	if p.wide {
		p.wide = false
		p.buffers.giveBackWide()
	}
	p.reading.Unlock()
	p.atEnd()
}

// complete completes both outputs. It blocks for as long as a pipe is locked.
func (both *pipes) complete() {
	both.stdout.complete()
	both.stderr.complete()
}

// completeWithin is complete for at most limit. After that it detaches the outputs as they are, and
// returns false: they may be incomplete. Its caller is inside the gate.
func (both *pipes) completeWithin(limit time.Duration) bool {
	completed := make(chan struct{})
	both.stdout.gate.run(func() {
		both.complete()
		close(completed)
	})
	select {
	case <-completed:
		return true
	case <-time.After(limit):
	}
	stdout, stderr := both.stdout.abandon(), both.stderr.abandon()
	return !stdout && !stderr
}
