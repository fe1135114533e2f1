package exec

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller watches the descriptors of all commands on one goroutine. One goroutine for each of a
// command's three would cost more, by waking threads, than all else of a small command, and a
// thousand sleeping commands would keep three thousand stacks.
type poller struct {
	file *os.File // the epoll descriptor, itself in the netpoller: waiting takes no thread
	fd   int

	mu      sync.Mutex
	watches map[int32]watch
	closing bool
}

type watch struct {
	kind  watchKind
	ready func()
}

// watchKind orders the events of one turn: exits come first, as callers may wait for the result.
type watchKind bool

const (
	watchExit   watchKind = true
	watchOutput watchKind = false
)

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare for waiting on commands: %w", err)
	}
	_ = unix.SetNonblock(fd, true)
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, watches: make(map[int32]watch)}
	raw, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("cannot prepare for waiting on commands: %w", err)
	}
	go func() {
		_ = raw.Read(func(uintptr) bool { return p.poll() })
		p.file.Close()
	}()
	return p, nil
}

// watch calls ready, which must not block, when the descriptor may have become readable.
// Edge-triggered: drain the descriptor. Calls may be spurious, as another descriptor may have had
// the number before.
//
// It fails when the kernel lets this user watch no more descriptors.
func (p *poller) watch(fd int, kind watchKind, ready func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[int32(fd)] = watch{kind, ready}
	event := &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, event)
	if err != nil {
		delete(p.watches, int32(fd))
	}
	return err
}

// forget ends the watch. It is called before the descriptor is closed: closing alone does not end
// it while a newborn child still holds a copy.
func (p *poller) forget(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	delete(p.watches, int32(fd))
	p.closeUnused()
}

// close ends the goroutine when nothing is watched any more.
func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	p.closeUnused()
}

// closeUnused needs mu. It may run on the poller's goroutine, for which Close would wait.
func (p *poller) closeUnused() {
	if p.closing && len(p.watches) == 0 {
		_ = p.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// poll calls the watches of all descriptors that are ready. It returns true if epoll failed.
func (p *poller) poll() (failed bool) {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.fd, events[:], 0)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return err != nil
		}
		if p.notify(events[:n], watchExit) {
			runtime.Gosched() // results are given before their pipes are closed
		}
		p.notify(events[:n], watchOutput)
	}
}

// notify calls the watches of one kind, and reports whether there were any.
func (p *poller) notify(events []unix.EpollEvent, kind watchKind) (called bool) {
	for _, event := range events {
		p.mu.Lock()
		w := p.watches[event.Fd]
		p.mu.Unlock()
		if w.ready != nil && w.kind == kind {
			w.ready()
			called = true
		}
	}
	return called
}
