package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/sign"
)

// client is one thread that keeps many connections busy and does no more than it must: its share of
// the processor is the daemon's loss.
type client struct {
	poll      int
	open      []*connection
	requests  [][]byte
	sent      int
	latencies []time.Duration
	bytes     int64
	buffer    []byte
}

// runClient signs first, connects, and then starts the clock.
func runClient(o order) (outcome, error) {
	var result outcome
	requests, err := signAll(o)
	if err != nil {
		return result, err
	}
	debug.FreeOSMemory()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	c := &client{requests: requests, latencies: make([]time.Duration, 0, len(requests)), buffer: make([]byte, 256<<10)}
	defer c.close()
	begin := time.Now()
	if err := c.connect(o.Address, o.Clients); err != nil {
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

func signAll(o order) ([][]byte, error) {
	body, err := json.Marshal(map[string]string{"command": o.Command})
	if err != nil {
		return nil, fmt.Errorf("cannot write the request: %w", err)
	}
	requests := make([][]byte, o.Commands)
	for i := range requests {
		if o.Hook {
			requests[i] = signHook([]byte(o.Key), body)
			continue
		}
		requests[i] = signOne([]byte(o.Key), body)
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
	return fmt.Appendf(nil, "POST /shell HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"+
		"X-Auth-Nonce: %s\r\nX-Auth-Timestamp: %s\r\nX-Auth-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.Nonce, r.Timestamp, sign.Signature(key, r), len(body), body)
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

// run gives every connection a request, and the next one as soon as it was answered.
func (c *client) run() error {
	for _, conn := range c.open {
		if err := c.next(conn); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, len(c.open))
	for len(c.latencies) < len(c.requests) {
		if len(c.open) == 1 { // reading waits as well, for one call less
			if err := c.take(c.open[0]); err != nil {
				return err
			}
			continue
		}
		n, err := epollWait(c.poll, events)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if err := c.take(c.open[e.Fd]); err != nil {
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

// take reads once from a connection that has something to read.
func (c *client) take(conn *connection) error {
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
