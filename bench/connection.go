package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a connection may be in the middle of, besides so many bytes that are left of its answer.
const (
	unknown = -1 // the answer's head has not arrived
	chunked = -2 // the answer ends with its last chunk
)

// connection is a blocking socket, which is only read when there is something to read. Its calls
// bypass Go's scheduler, as there is nothing else to schedule.
type connection struct {
	fd    int
	since time.Time // when the request was sent
	left  int
	tail  []byte // the last bytes of a chunked answer
}

func dial(to netip.AddrPort) (*connection, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot connect to %s: %w", to, err)
	}
	return &connection{fd: fd}, nil
}

func (c *connection) write(request []byte) error {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&request[0])), uintptr(len(request)))
	if errno != 0 || int(n) != len(request) {
		return fmt.Errorf("cannot send a request: %d of %d bytes, %w", n, len(request), errno)
	}
	return nil
}

func (c *connection) read(buffer []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, fmt.Errorf("cannot read an answer: %w", errno)
		case n == 0:
			return 0, errors.New("the daemon closed a connection instead of answering")
		default:
			return int(n), nil
		}
	}
}

// count says whether these bytes end the answer.
func (c *connection) count(piece []byte) (whole bool, err error) {
	if c.left == unknown {
		head, rest, found := bytes.Cut(piece, []byte("\r\n\r\n"))
		if !found || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
			return false, fmt.Errorf("not an answer: %q", piece[:min(len(piece), 400)])
		}
		c.left, c.tail, piece = lengthIn(head), nil, rest
	}
	if c.left == chunked {
		c.tail = append(c.tail, piece[max(0, len(piece)-5):]...)
		c.tail = c.tail[max(0, len(c.tail)-5):]
		return string(c.tail) == "0\r\n\r\n", nil
	}
	c.left -= len(piece)
	return c.left == 0, nil
}

func lengthIn(head []byte) int {
	_, rest, found := bytes.Cut(head, []byte("\r\nContent-Length: "))
	if !found {
		return chunked
	}
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return chunked
	}
	return n
}

func epollWait(poll int, events []unix.EpollEvent) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, fmt.Errorf("cannot poll: %w", errno)
		}
	}
}
