package message

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrPaused is what Receive returns after Pause.
var ErrPaused = errors.New("the channel is paused")

// Pause makes Receive return ErrPaused as soon as it would wait for the peer, and at each later
// call, until Resume. Receive keeps the bytes of a frame that has arrived in part. Send goes on. It
// returns an error, and changes nothing, if the stream has no deadlines.
func (c *Conn) Pause() error {
	c.paused.Store(true)
	if err := c.setReadDeadline(time.Unix(1, 0)); err != nil {
		c.paused.Store(false)
		return fmt.Errorf("cannot pause the channel: %w", err)
	}
	return nil
}

// Resume ends a pause: the next Receive goes on where the last one stopped. A call of Receive that
// Pause has interrupted may still return ErrPaused.
func (c *Conn) Resume() error {
	if err := c.setReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot resume the channel: %w", err)
	}
	c.paused.Store(false)
	return nil
}

func (c *Conn) setReadDeadline(t time.Time) error {
	stream, ok := c.stream.(interface{ SetReadDeadline(t time.Time) error })
	if !ok {
		return errors.New("its stream has no deadlines")
	}
	return stream.SetReadDeadline(t)
}

// ConnState is what another process needs in order to go on with a channel, besides its stream.
type ConnState struct {
	// Received are the names of the kinds that the peer has sent. A release that does not know one
	// has no rule for it either.
	Received []string
	// Unread are bytes that were read from the stream: the start of a frame, or several frames.
	Unread []byte
	// Failed is why Send failed; empty: it did not. The stream may then be cut within a frame.
	Failed string
}

// State returns the state of a paused channel. No call of Receive or Send may be in progress.
func (c *Conn) State() ConnState {
	var s ConnState
	for kind, received := range c.received {
		if received {
			s.Received = append(s.Received, Kind(kind).String())
		}
	}
	in := &c.incoming
	s.Unread = append(s.Unread, in.header[:min(in.read, headerSize)]...)
	if in.checked {
		s.Unread = append(s.Unread, in.frame.Payload[:in.read-headerSize]...)
	}
	buffered, _ := c.reader.Peek(c.reader.Buffered())
	s.Unread = append(s.Unread, buffered...)
	if c.prefix != nil { // paused again before these were read
		s.Unread = append(s.Unread, c.prefix.unread...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		s.Failed = c.failed.Error()
	}
	return s
}

// RestoreConn goes on over stream with the channel that State described. What was received before
// counts for table; a frame that has arrived in part is checked by table from its start.
func RestoreConn(stream io.ReadWriteCloser, table Table, s ConnState) *Conn {
	c := NewConn(stream, table)
	if len(s.Unread) > 0 {
		c.prefix = &prefixed{s.Unread, stream}
		c.reader = bufio.NewReaderSize(c.prefix, readSize)
	}
	for kind := range c.received {
		for _, name := range s.Received {
			if rules[kind].name == name {
				c.received[kind] = true
			}
		}
	}
	if s.Failed != "" {
		c.failed = errors.New(s.Failed)
	}
	return c
}

// prefixed reads unread first, and then the stream.
type prefixed struct {
	unread []byte
	stream io.Reader
}

func (p *prefixed) Read(into []byte) (int, error) {
	if len(p.unread) == 0 {
		p.unread = nil
		return p.stream.Read(into)
	}
	n := copy(into, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}
