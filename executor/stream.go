package executor

import (
	"errors"
	"fmt"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// errGone says that nobody reads the stream any more: the caller hung up, or the role ended.
var errGone = errors.New("the reader has gone")

// stream is one answer or callback body on its way to the network role. At most message.Window
// bytes of it are unread there, so a slow reader holds up its own stream and nothing else.
type stream struct {
	session *Session
	id      uint64
	changed *sync.Cond // on session.mu
	tally   *tally     // counts the answer; nil for what is no answer to a request
	credit  int
	gone    bool
	left    chan struct{} // closed when gone
}

func newStream(s *Session, id uint64) *stream {
	return &stream{session: s, id: id, changed: sync.NewCond(&s.mu), credit: message.Window, left: make(chan struct{})}
}

// begin needs s.mu. It opens the stream of an answer.
func (s *Session) begin(id uint64) (*stream, error) {
	if id != s.lastRequest+1 || id&message.PostFlag != 0 {
		return nil, fmt.Errorf("%w: request %d came after %d", message.ErrProtocol, id, s.lastRequest)
	}
	s.lastRequest = id
	if len(s.streams) >= s.mostStreams() {
		return nil, fmt.Errorf("%w: more requests at once than connections", message.ErrProtocol)
	}
	st := newStream(s, id)
	s.streams[id] = st
	return st, nil
}

// mostStreams is how many can be open at the same time.
func (s *Session) mostStreams() int {
	most := int(s.executor.limits.MaxConnections) + s.executor.courier.mostPosts()
	if s.executor.limits.MetricsSockets > 0 {
		most += message.MaxScrapes
	}
	return most
}

// addCredit and abandon need session.mu.
func (st *stream) addCredit(n int) error {
	if n <= 0 || st.credit+n > message.Window {
		return fmt.Errorf("%w: credit for bytes that were not sent", message.ErrProtocol)
	}
	st.credit += n
	st.changed.Signal()
	return nil
}

func (st *stream) abandon() {
	if !st.gone {
		st.gone = true
		close(st.left)
	}
	st.changed.Signal()
}

// send waits for credit for the n bytes of body in f and sends it. The last frame ends the stream.
func (st *stream) send(f message.Frame, n int) error {
	f.ID = st.id
	if err := st.reserve(n, f.Last); err != nil {
		return err
	}
	return st.session.conn.Send(f)
}

func (st *stream) reserve(n int, last bool) error {
	st.session.mu.Lock()
	defer st.session.mu.Unlock()
	for st.credit < n && !st.gone {
		st.changed.Wait()
	}
	if st.gone {
		return errGone
	}
	st.credit -= n
	if last {
		delete(st.session.streams, st.id)
	}
	return nil
}

// count notes the outcome of a request before the caller can know it, so that whoever has an answer finds
// it counted.
func (st *stream) count(status uint16) {
	if st.tally == nil {
		return
	}
	st.session.mu.Lock()
	gone := st.gone
	st.session.mu.Unlock()
	if gone {
		status = 0
	}
	st.tally.answered(status)
}

// close ends a stream that stays unfinished.
func (st *stream) close() {
	st.session.mu.Lock()
	defer st.session.mu.Unlock()
	st.abandon()
	delete(st.session.streams, st.id)
}

// chunks cuts what is written to it into pieces of message.MaxData bytes and sends each as it fills;
// Close sends the rest.
type chunks struct {
	buffer []byte
	send   func(piece []byte, last bool) error
}

// Write returns the error of the first piece that could not be sent.
func (c *chunks) Write(p []byte) (int, error) {
	written := len(p)
	for len(c.buffer)+len(p) > message.MaxData {
		n := message.MaxData - len(c.buffer)
		c.buffer = append(c.buffer, p[:n]...)
		p = p[n:]
		if err := c.flush(false); err != nil {
			return 0, err
		}
	}
	c.buffer = append(c.buffer, p...)
	return written, nil
}

// Close sends the last piece.
func (c *chunks) Close() error { return c.flush(true) }

// Push sends what there is, also nothing: then it tells whether anybody still reads.
func (c *chunks) Push() error { return c.flush(false) }

func (c *chunks) flush(last bool) error {
	err := c.send(c.buffer, last)
	c.buffer = c.buffer[:0]
	return err
}

// answerTo returns the writer of an answer's body. A small answer goes in one frame, with its length;
// of a larger one the length is not known when its first bytes are sent.
func answerTo(st *stream, head message.Head) *chunks {
	begun := false
	return &chunks{send: func(piece []byte, last bool) error {
		f := message.Frame{Kind: message.Data, Last: last, Payload: piece}
		if !begun {
			begun = true
			st.count(head.Status)
			head.Length, head.Body = -1, piece
			if last {
				head.Length = int64(len(piece))
			}
			f.Kind, f.Payload = message.Answer, head.Encode()
		}
		return st.send(f, len(piece))
	}}
}

// bodyOf returns the writer of a callback's body.
func bodyOf(st *stream) *chunks {
	return &chunks{send: func(piece []byte, last bool) error {
		return st.send(message.Frame{Kind: message.Data, Last: last, Payload: piece}, len(piece))
	}}
}
