package listener

import (
	"io"
	"net"
	"os"
	"syscall"

	"dataflux-func-sidecar/nowait"
)

// caller is a connection whose reads and writes the scheduler is not told of, with everything else that it can.
type caller struct {
	net.Conn
	stream *nowait.Stream
}

func newCaller(c net.Conn) (*caller, error) {
	f, ok := c.(nowait.File)
	if !ok {
		return nil, syscall.ENOTSOCK
	}
	stream, err := nowait.NewStream(f)
	if err != nil {
		return nil, err
	}
	return &caller{c, stream}, nil
}

func (c *caller) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	return n, c.explain("read", err)
}

func (c *caller) Write(p []byte) (int, error) {
	n, err := c.stream.Write(p)
	return n, c.explain("write", err)
}

// explain gives an error the form that package net gives it: net/http looks at that.
func (c *caller) explain(call string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if raw, ok := err.(*net.OpError); ok { // of the waiting: closed, or too late
		err = raw.Err
	} else {
		err = os.NewSyscallError(call, err)
	}
	local := c.LocalAddr()
	return &net.OpError{Op: call, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: err}
}

func (c *caller) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
