package privsep

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener is an inherited listening socket. Its descriptor keeps its number until the process
// ends, because the filter of InstallSeccomp refuses calls by that number: a connection that got
// the number later would be refused them too.
type Listener struct {
	net.Listener
	setDeadline func(time.Time) error
	descriptor  int
	closed      atomic.Bool
}

// InheritListeners returns the listening sockets that are the descriptors first to first+count-1,
// and closes these: package net works on duplicates. It must be called before InstallSeccomp.
func InheritListeners(first, count int) ([]*Listener, error) {
	listeners := make([]*Listener, 0, count)
	for i := range count {
		l, err := inheritListener(first + i)
		if err != nil {
			return nil, fmt.Errorf("cannot use listening socket %d: %w", i+1, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func inheritListener(fd int) (*Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	socket, ok := l.(interface { // TCP and Unix sockets are
		SetDeadline(t time.Time) error
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("it is neither a TCP nor a Unix socket, but %s", l.Addr().Network())
	}
	conn, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	listener := &Listener{Listener: l, setDeadline: socket.SetDeadline}
	err = conn.Control(func(fd uintptr) { listener.descriptor = int(fd) })
	return listener, err
}

// Descriptor is the number under which this process has the socket.
func (l *Listener) Descriptor() uintptr { return uintptr(l.descriptor) }

// Accept returns net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && l.closed.Load() {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close ends accepting. The socket stays open: other processes have it too, so further callers wait
// in its backlog in any case, for the next role.
func (l *Listener) Close() error {
	l.closed.Store(true)
	return l.setDeadline(time.Unix(1, 0))
}
