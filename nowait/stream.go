package nowait

import (
	"io"
	"syscall"
)

// File is what the runtime's poller waits for: an os.File on a nonblocking descriptor, or a socket of package net.
type File interface {
	io.Closer
	syscall.Conn
}

// Stream reads and writes a File. Waiting, deadlines and closing are the File's own.
type Stream struct {
	io.Closer
	raw syscall.RawConn
}

// NewStream fails when f has no descriptor.
func NewStream(f File) (*Stream, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Stream{f, raw}, nil
}

// Read returns io.EOF at the end.
func (s *Stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	failed := s.raw.Read(func(fd uintptr) bool {
		n, err = Read(int(fd), p)
		return err != syscall.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == nil && n == 0:
		return 0, io.EOF
	}
	return n, err
}

// Write returns when all is written, or with how much was when it failed.
func (s *Stream) Write(p []byte) (written int, err error) {
	failed := s.raw.Write(func(fd uintptr) bool {
		for written < len(p) && err == nil {
			var n int
			n, err = Write(int(fd), p[written:])
			written += n
		}
		if err == syscall.EAGAIN {
			err = nil
			return false
		}
		return true
	})
	if failed != nil {
		return written, failed
	}
	return written, err
}
