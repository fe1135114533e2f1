package message

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Conn sends and receives frames. Send is safe for concurrent use, Receive for one caller at a time.
type Conn struct {
	stream io.ReadWriteCloser
	reader *bufio.Reader
	table  Table
	spare  spare

	mu     sync.Mutex
	buffer []byte
	failed error
}

// NewConn speaks over stream and takes from the peer what table permits.
func NewConn(stream io.ReadWriteCloser, table Table) *Conn {
	return &Conn{stream: stream, reader: bufio.NewReaderSize(stream, 32<<10), table: table}
}

// Close ends the channel in both directions.
func (c *Conn) Close() error { return c.stream.Close() }

// Send returns when all of f is written. After an error the stream may be cut within a frame, so each
// further Send returns that error.
func (c *Conn) Send(f Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	header := f.header()
	c.buffer = append(c.buffer[:0], header[:]...)
	rest := f.Payload
	if len(rest) <= MaxHead+MaxData { // one write wakes the peer once; a rare large request is not copied for that
		c.buffer, rest = append(c.buffer, rest...), nil
	}
	_, err := c.stream.Write(c.buffer)
	if err == nil && len(rest) > 0 {
		_, err = c.stream.Write(rest)
	}
	if err != nil {
		c.failed = fmt.Errorf("cannot write to the channel: %w", err)
	}
	return c.failed
}

// Receive returns the next frame, whose payload the caller owns. It returns io.EOF when the peer has
// closed the channel between two frames, an error that wraps ErrProtocol when the peer broke the rules.
func (c *Conn) Receive() (Frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(c.reader, h[:]); err != nil {
		return Frame{}, cutShort(err)
	}
	f, length, err := parseHeader(h, c.table)
	if err != nil || length == 0 {
		return f, err
	}
	f.Payload = c.spare.payload(length)
	if _, err := io.ReadFull(c.reader, f.Payload); err != nil {
		return Frame{}, cutShort(fmt.Errorf("%w after the header", err))
	}
	return f, nil
}

func cutShort(err error) error {
	switch {
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ended within a frame", ErrProtocol)
	}
	return fmt.Errorf("cannot read from the channel: %w", err)
}
