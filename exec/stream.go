package exec

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/nowait"
)

// stream reads one pipe of a command until its last writer is gone. Until the
// result is ready it fills an Output; afterwards it drops.
//
// The poller's goroutine reads a little of every stream. One that has much to
// say gets a goroutine of its own, so that it delays no other.
type stream struct {
	fd     int
	file   *os.File // nil while the poller's goroutine reads it
	poller *poller
	null   *os.File
	pool   *buffers
	ended  func() // called once, at the end of the pipe

	late atomic.Int64 // bytes that came after the result

	mu     sync.Mutex
	output *Output // nil once the result is ready: draining keeps no output alive
	closed bool
	wide   bool
}

// init prepares a stream that reads fd into output.
func (s *stream) init(r *Runner, fd int, output *Output, limit int64, ended func()) {
	output.limit, output.pool = limit, r.buffers
	s.fd, s.poller = fd, r.poller
	s.null, s.pool = r.own.null, r.buffers
	s.output, s.ended = output, ended
}

func (s *stream) start() {
	if s.poller.watch(s.fd, anOutput, s.ready) != nil {
		s.readAlone()
	}
}

// ready is called by the poller.
func (s *stream) ready() {
	for taken := 0; taken < scratchSize; {
		n, err := s.pull()
		switch {
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			s.poller.forget(s.fd)
			s.close()
			return
		}
		taken += n
	}
	s.poller.forget(s.fd)
	s.readAlone()
}

func (s *stream) readAlone() {
	s.file = os.NewFile(uintptr(s.fd), "pipe")
	go s.run()
}

// run reads until the end of the pipe.
func (s *stream) run() {
	raw, err := s.file.SyscallConn()
	if err == nil {
		err = raw.Read(s.pump)
	}
	if err != nil {
		// The kernel lets us watch no more descriptors. Then a thread waits.
		for !s.pump(0) {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, -1)
		}
	}
	s.close()
}

// pump reads what is there and says whether that was the end. Errors end the
// stream as its end does: nothing more can be read.
func (s *stream) pump(uintptr) bool {
	for {
		n, err := s.pull()
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil || n == 0:
			return true
		}
	}
}

func (s *stream) pull() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.output == nil {
		n, err := s.drop(pipeSize)
		s.late.Add(int64(n))
		return n, err
	}
	return s.take(pipeSize)
}

// take does one read on behalf of the output. It needs mu.
func (s *stream) take(most int) (int, error) {
	if s.output.full() {
		n, err := s.drop(most)
		s.output.addDropped(n)
		return n, err
	}
	n, err := s.output.fill(s.fd, most)
	if s.output.talkative() {
		s.widen()
	}
	return n, err
}

// widen enlarges the pipe of a command that writes much, so that the two sides
// switch less often. Where the user's budget does not allow it nothing is lost.
func (s *stream) widen() {
	if s.wide || !s.pool.widen() {
		return
	}
	s.wide = true
	_, _ = unix.FcntlInt(uintptr(s.fd), unix.F_SETPIPE_SZ, pipeSize)
}

// drop moves bytes to /dev/null inside the kernel: they cost neither memory
// nor a copy, however much a command writes.
func (s *stream) drop(most int) (int, error) {
	n, err := nowait.Discard(s.fd, int(s.null.Fd()), most)
	if err != nil && err != unix.EAGAIN {
		return s.dropByReading(most)
	}
	return n, err
}

// dropByReading serves where /dev/null takes no splice.
func (s *stream) dropByReading(most int) (int, error) {
	lent := s.pool.scratch()
	defer s.pool.scratches.Put(lent)
	return nowait.Read(s.fd, lent[:min(most, len(lent))])
}

// settle takes what is in the pipe at this moment, no more, and detaches the
// output: a background child that goes on writing delays nobody.
func (s *stream) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for left := s.waiting(); left > 0; {
		n, err := s.take(left)
		if err != nil || n == 0 {
			break
		}
		left -= n
	}
	s.output.settle()
	s.output = nil
}

// waiting is the number of bytes in the pipe. It needs mu.
func (s *stream) waiting() int {
	if s.closed {
		return 0
	}
	n, err := nowait.Waiting(s.fd)
	if err != nil {
		return 0
	}
	return n
}

func (s *stream) close() {
	s.shut()
	s.ended()
}

func (s *stream) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.file == nil {
		nowait.Close(s.fd)
	} else {
		_ = s.file.Close()
	}
	if s.wide {
		s.wide = false
		s.pool.narrow()
	}
}
