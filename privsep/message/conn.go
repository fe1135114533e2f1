package message

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Frame is one message. Last marks the end of the stream that an Answer, Post or Data belongs to.
type Frame struct {
	Kind    Kind
	Last    bool
	ID      uint64
	Payload []byte
}

// A header has: kind (1 byte), flags (1: bit 0 is Last), zero (2), payload length (4), id (8); big
// endian.
const headerSize = 16

// readSize is the size of the read buffer, in bytes. Larger payloads bypass it.
const readSize = 32 << 10

func (f Frame) header() [headerSize]byte {
	var h [headerSize]byte
	h[0] = byte(f.Kind)
	if f.Last {
		h[1] = 1
	}
	binary.BigEndian.PutUint32(h[4:], uint32(len(f.Payload)))
	binary.BigEndian.PutUint64(h[8:], f.ID)
	return h
}

// parseHeader returns a frame without its payload, and the payload's length in bytes.
func parseHeader(h [headerSize]byte) (Frame, uint32, error) {
	f := Frame{Kind: Kind(h[0]), Last: h[1] == 1, ID: binary.BigEndian.Uint64(h[8:])}
	if h[1] > 1 || h[2] != 0 || h[3] != 0 {
		return f, 0, fmt.Errorf("%w: reserved bits are set in %s", ErrProtocol, f.Kind)
	}
	return f, binary.BigEndian.Uint32(h[4:]), nil
}

// Conn sends and receives frames. Send is safe for concurrent use, Receive for one caller at a
// time.
type Conn struct {
	stream io.ReadWriteCloser

	reader   *bufio.Reader
	prefix   *prefixed // what reader reads first, nil for nothing
	table    Table
	received kinds
	incoming incoming
	paused   atomic.Bool
	payloads sync.Pool // of *[MaxData]byte

	mu     sync.Mutex
	buffer []byte
	failed error
}

// NewConn speaks over stream, and accepts from the peer what table permits.
func NewConn(stream io.ReadWriteCloser, table Table) *Conn {
	return &Conn{stream: stream, reader: bufio.NewReaderSize(stream, readSize), table: table}
}

// Close ends the channel in both directions.
func (c *Conn) Close() error { return c.stream.Close() }

// Send returns when all of f is written. After an error the stream may be cut within a frame, so
// each further Send returns that error.
func (c *Conn) Send(f Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	header := f.header()
	c.buffer = append(c.buffer[:0], header[:]...)
	rest := f.Payload
	// One write wakes the peer once. A large request, which is rare, is not copied for that.
	if len(rest) <= maxAnswer {
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

// incoming is the frame that is being received. A pause can interrupt it after any byte.
type incoming struct {
	header  [headerSize]byte
	frame   Frame // has its whole length as soon as the header is complete and checked
	read    int   // bytes of header and payload
	checked bool
}

// Receive returns the next frame, whose payload belongs to the caller. It returns io.EOF when the
// peer has closed the channel between two frames, ErrPaused after Pause, and an error that wraps
// ErrProtocol when the peer broke the protocol. The channel is of no use after the other errors.
func (c *Conn) Receive() (Frame, error) {
	if c.paused.Load() {
		return Frame{}, ErrPaused
	}
	return c.receive()
}

func (c *Conn) receive() (Frame, error) {
	in := &c.incoming
	if !in.checked {
		if err := c.fill(in.header[:], 0); err != nil {
			return Frame{}, err
		}
		f, length, err := parseHeader(in.header)
		if err == nil {
			err = c.table.check(f, length, &c.received)
		}
		if err != nil {
			return Frame{}, err
		}
		if length > 0 {
			f.Payload = c.allocate(length)
		}
		in.frame, in.checked = f, true
	}
	if err := c.fill(in.frame.Payload, headerSize); err != nil {
		return Frame{}, err
	}
	f := in.frame
	in.frame, in.read, in.checked = Frame{}, 0, false
	c.received[f.Kind] = true
	return f, nil
}

// fill reads the rest of p, which starts at byte start of the frame.
func (c *Conn) fill(p []byte, start int) error {
	if len(p) == 0 {
		return nil
	}
	n, err := io.ReadFull(c.reader, p[c.incoming.read-start:])
	c.incoming.read += n
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded): // Pause set it, and Resume may have come since
		return ErrPaused
	case err == io.EOF && c.incoming.read > 0:
		err = io.ErrUnexpectedEOF
	}
	return readError(err)
}

func readError(err error) error {
	switch {
	case err == io.EOF:
		return io.EOF
	case err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: it ended within a frame", ErrProtocol)
	}
	return fmt.Errorf("cannot read from the channel: %w", err)
}

// allocate reuses the payloads of full Data frames: the frames of a large answer then share a few
// buffers, which stay in the processor's cache.
func (c *Conn) allocate(length uint32) []byte {
	if length == MaxData {
		if p, ok := c.payloads.Get().(*[MaxData]byte); ok {
			return p[:]
		}
	}
	return make([]byte, length)
}

// Reuse returns a payload that Receive gave. The caller must not use it afterwards.
func (c *Conn) Reuse(payload []byte) {
	if cap(payload) == MaxData {
		c.payloads.Put((*[MaxData]byte)(payload[:MaxData]))
	}
}
