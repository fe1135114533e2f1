package exec

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/nowait"
)

// poller watches the descriptors of all commands on one goroutine. A goroutine
// for each of a command's three takes more processor time, for waking threads,
// than all else that is done for a small command, and a thousand commands that
// sleep would each keep three stacks.
type poller struct {
	file *os.File // of epoll, and itself in the netpoller: waiting takes no thread
	fd   int

	mu      sync.Mutex
	watches map[int32]watch
	closing bool
}

// watch is whom to call about a descriptor.
type watch struct {
	of    subject
	ready func()
}

// subject says what a descriptor tells of.
type subject bool

const (
	anExit   subject = true  // somebody may wait for the result
	anOutput subject = false // nobody waits for it alone
)

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare for waiting on commands: %w", err)
	}
	p := &poller{file: pollable(fd, "epoll"), fd: fd, watches: make(map[int32]watch)}
	raw, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("cannot prepare for waiting on commands: %w", err)
	}
	go func() {
		_ = raw.Read(func(uintptr) bool { return p.turn() })
		p.file.Close()
	}()
	return p, nil
}

// watch calls ready, which must not block, whenever there may be something to
// read that was not there before: who does not read all is not called again for
// the rest. A call may also be for nothing, when another descriptor had the
// number before.
//
// It fails when the kernel lets this user watch no more descriptors.
func (p *poller) watch(fd int, of subject, ready func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[int32(fd)] = watch{of, ready}
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
	if err != nil {
		delete(p.watches, int32(fd))
	}
	return err
}

// forget ends the watch, before the descriptor is closed. A child that was just
// forked may hold it for a moment, so closing alone would not do.
func (p *poller) forget(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	delete(p.watches, int32(fd))
	p.closeUnused()
}

// close ends the goroutine once nothing is watched any more.
func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	p.closeUnused()
}

// closeUnused needs mu. It may run on the goroutine itself, for which Close would wait.
func (p *poller) closeUnused() {
	if p.closing && len(p.watches) == 0 {
		_ = p.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// turn calls whoever has something to read. It says whether that was for good.
func (p *poller) turn() (over bool) {
	var events [64]unix.EpollEvent
	for {
		n, err := nowait.Poll(p.fd, events[:])
		if n <= 0 {
			return err != nil
		}
		if p.call(events[:n], anExit) {
			runtime.Gosched() // a result goes before the clearing away of its pipes
		}
		p.call(events[:n], anOutput)
	}
}

// call says whether there was anybody to call about such a descriptor.
func (p *poller) call(events []unix.EpollEvent, of subject) (called bool) {
	for _, event := range events {
		if w := p.watcher(event.Fd); w.ready != nil && w.of == of {
			w.ready()
			called = true
		}
	}
	return called
}

func (p *poller) watcher(fd int32) watch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watches[fd]
}
