package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/sign"
)

// client keeps many connections busy from one thread. It does little itself, as it competes with
// the daemon for the processor.
type client struct {
	poll      int
	open      []*connection
	requests  [][]byte
	sent      int
	latencies []time.Duration
	bytes     int64
	buffer    []byte
}

// runClient signs all requests and connects before it starts the clock.
func runClient(t task) (roundResult, error) {
	var result roundResult
	requests, err := signAll(t)
	if err != nil {
		return result, err
	}
	debug.FreeOSMemory()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	c := &client{
		requests: requests, latencies: make([]time.Duration, 0, len(requests)),
		buffer: make([]byte, 256<<10),
	}
	defer c.close()
	begin := time.Now()
	if err := c.connect(t.Address, t.Clients); err != nil {
		return result, err
	}
	result.Connecting = time.Since(begin)
	begin = time.Now()
	if err := c.run(); err != nil {
		return result, err
	}
	result.Elapsed, result.Bytes = time.Since(begin), c.bytes
	result.latencies(c.latencies)
	return result, nil
}

func signAll(t task) ([][]byte, error) {
	body, err := json.Marshal(map[string]string{"command": t.Command})
	if err != nil {
		return nil, fmt.Errorf("cannot write the request: %w", err)
	}
	requests := make([][]byte, t.Commands)
	for i := range requests {
		if t.Hook {
			requests[i] = signHook("run", []byte(t.Key), body)
			continue
		}
		requests[i] = signOne([]byte(t.Key), body)
	}
	return requests, nil
}

func signOne(key, body []byte) []byte {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	r := sign.Request{
		Method: "POST", Path: "/shell", Nonce: hex.EncodeToString(nonce[:]),
		Timestamp: strconv.FormatInt(time.Now().Unix(), 10), Body: body,
	}
	return fmt.Appendf(
		nil,
		"POST /shell HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"+
			"X-Auth-Nonce: %s\r\nX-Auth-Timestamp: %s\r\nX-Auth-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.Nonce,
		r.Timestamp,
		sign.Signature(key, r),
		len(body),
		body,
	)
}

func (c *client) connect(address string, connections int) (err error) {
	if c.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("cannot poll: %w", err)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	for i := range connections {
		conn, err := dial(to)
		if err != nil {
			return err
		}
		c.open = append(c.open, conn)
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(c.poll, unix.EPOLL_CTL_ADD, conn.fd, &event); err != nil {
			return fmt.Errorf("cannot poll: %w", err)
		}
	}
	return nil
}

// run sends one request per connection, and the next one after each answer.
func (c *client) run() error {
	for _, conn := range c.open {
		if err := c.next(conn); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, len(c.open))
	for len(c.latencies) < len(c.requests) {
		if len(c.open) == 1 { // a blocking read saves a call
			if err := c.receive(c.open[0]); err != nil {
				return err
			}
			continue
		}
		n, err := epollWait(c.poll, events)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if err := c.receive(c.open[e.Fd]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) next(conn *connection) error {
	if c.sent == len(c.requests) {
		return nil
	}
	c.sent++
	conn.left, conn.since = unknown, time.Now()
	return conn.write(c.requests[c.sent-1])
}

// receive reads once from a readable connection.
func (c *client) receive(conn *connection) error {
	n, err := conn.read(c.buffer)
	if err != nil {
		return err
	}
	c.bytes += int64(n)
	whole, err := conn.count(c.buffer[:n])
	if err != nil || !whole {
		return err
	}
	c.latencies = append(c.latencies, time.Since(conn.since))
	return c.next(conn)
}

func (c *client) close() {
	for _, conn := range c.open {
		_ = unix.Close(conn.fd)
	}
	_ = unix.Close(c.poll)
}

// Values of connection.left other than a number of bytes.
const (
	unknown = -1 // the head of the answer has not arrived
	chunked = -2 // the answer ends with its last chunk
)

// connection is a blocking socket that is read when it is readable. Its system calls bypass Go's
// scheduler, as the process has no other goroutine to run.
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
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if err := unix.Connect(fd, address); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot connect to %s: %w", to, err)
	}
	return &connection{fd: fd}, nil
}

func (c *connection) write(request []byte) error {
	n, _, errno := syscall.RawSyscall(
		unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&request[0])), uintptr(len(request)),
	)
	if errno != 0 || int(n) != len(request) {
		return fmt.Errorf("cannot send a request: %d of %d bytes, %w", n, len(request), errno)
	}
	return nil
}

func (c *connection) read(buffer []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(
			unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)),
		)
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

// count reports whether the answer ends with this piece.
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
		n, _, errno := syscall.RawSyscall6(
			unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])),
			uintptr(len(events)), ^uintptr(0), 0, 0,
		)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, fmt.Errorf("cannot poll: %w", errno)
		}
	}
}
