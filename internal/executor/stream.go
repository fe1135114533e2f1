package executor

import (
	"bytes"
	"errors"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

var errReaderGone = errors.New("the reader has gone") // the caller hung up, or the role ended

// stream is one answer or callback body on its way to the network role. At most message.Window
// bytes of it are unread there, so a slow reader delays its own stream only.
type stream struct {
	channel *channel
	id      uint64
	changed *sync.Cond // on channel.mu
	credit  int
	gone    chan struct{} // closed when the reader has gone
	job     string        // the id of the job that the request is about, for the log; may be empty
	key     string        // the name of the key that signed the request; may be empty
	trace   traceparent   // of the request, for the log

	// held are frames that were sent since the channel holds frames back, in order.
	held        []heldFrame
	sendingHeld bool     // a goroutine is in sendHeld, and may send one that is not in held
	aborted     bool     // an Abort is held back, and nothing comes after it
	wait        *waiting // what the stream waits for before its next frame; nil: for nothing
}

// heldFrame is a frame without its id, and how many bytes of the body it carries.
type heldFrame struct {
	Kind    message.Kind
	Last    bool
	Payload []byte
	Bytes   int
}

func newStream(c *channel, id uint64) *stream {
	return &stream{
		channel: c, id: id, changed: sync.NewCond(&c.mu), credit: message.Window,
		gone: make(chan struct{}),
	}
}

// send sends f, which carries n bytes of the body, once there is credit for them. The last frame
// ends the stream. While the channel holds frames back, it keeps a copy of f and does not wait.
func (st *stream) send(f message.Frame, n int) error {
	f.ID = st.id
	held, err := st.spendCredit(f, n)
	if held || err != nil {
		return err
	}
	return st.channel.conn.Send(f)
}

// spendCredit waits for n bytes of credit, and for frames that were held back before f.
func (st *stream) spendCredit(f message.Frame, n int) (held bool, err error) {
	c := st.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.holding && !st.aborted && (st.credit < n || st.hasHeld()) && !isClosed(st.gone) {
		st.changed.Wait()
	}
	switch {
	case isClosed(st.gone), st.aborted:
		return false, errReaderGone
	case c.holding:
		return true, st.hold(f, n)
	}
	st.spend(n, f.Last)
	return false, nil
}

// hasHeld needs channel.mu. It reports whether frames are to be sent before any other.
func (st *stream) hasHeld() bool { return st.sendingHeld || len(st.held) > 0 }

// spend needs channel.mu.
func (st *stream) spend(n int, last bool) {
	st.credit -= n
	if last {
		st.channel.remove(st)
	}
}

// hold needs channel.mu. A stream with too many bytes is aborted: its reader gets no whole answer.
func (st *stream) hold(f message.Frame, n int) error {
	if st.channel.heldBytes += int64(len(f.Payload)); st.channel.heldBytes > maxHeld {
		st.holdAbort()
		return errReaderGone
	}
	st.held = append(st.held, heldFrame{f.Kind, f.Last, bytes.Clone(f.Payload), n})
	return nil
}

// holdAbort needs channel.mu. It puts an Abort in the place of the frames that are held back.
func (st *stream) holdAbort() {
	st.held = []heldFrame{{Kind: message.Abort, Last: true}}
	st.aborted, st.wait = true, nil
	st.changed.Broadcast() // it needs no credit
}

// sendHeld sends the frames that were held back, until the channel holds frames back again. It does
// nothing if another goroutine sends them, as after a second reload that was refused.
func (st *stream) sendHeld() {
	c := st.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.sendingHeld {
		return
	}
	st.sendingHeld = true
	defer func() {
		st.sendingHeld = false
		st.changed.Broadcast()
	}()
	for {
		for len(st.held) > 0 && !c.holding && st.credit < st.held[0].Bytes && !isClosed(st.gone) {
			st.changed.Wait()
		}
		if len(st.held) == 0 || c.holding || isClosed(st.gone) {
			return
		}
		next := st.held[0]
		st.held = st.held[1:] // now, as close and holdAbort may replace it meanwhile
		st.spend(next.Bytes, next.Last)
		c.mu.Unlock()
		f := message.Frame{Kind: next.Kind, Last: next.Last, ID: st.id, Payload: next.Payload}
		err := c.conn.Send(f)
		c.mu.Lock()
		if err != nil {
			return
		}
	}
}

// abort ends the stream, unless it is complete, and tells its reader that the rest does not come.
func (st *stream) abort() {
	c := st.channel
	c.mu.Lock()
	if c.streams[st.id] != st || st.aborted || isClosed(st.gone) {
		c.mu.Unlock()
		return
	}
	if c.holding || st.hasHeld() { // it must not overtake a frame that sendHeld sends
		st.holdAbort()
		c.mu.Unlock()
		return
	}
	st.close()
	c.mu.Unlock()
	_ = c.conn.Send(message.Frame{Kind: message.Abort, Last: true, ID: st.id})
}

// close needs channel.mu. It ends a stream that stays incomplete.
func (st *stream) close() {
	st.channel.remove(st)
	close(st.gone)
	st.held = nil
	st.changed.Broadcast()
}

// waitFor notes what the stream waits for, so that a reload can go on with it; nil: for nothing.
func (st *stream) waitFor(w *waiting) {
	st.channel.mu.Lock()
	defer st.channel.mu.Unlock()
	st.wait = w
}

// goneStream is the stream of a caller who has hung up.
func goneStream(c *channel) *stream {
	st := newStream(c, 0)
	close(st.gone)
	return st
}

// frameWriter cuts the bytes written to it into pieces of message.MaxData and sends each when it is
// full. Close sends the rest.
type frameWriter struct {
	buffer []byte
	begun  bool // a piece was sent
	send   func(piece []byte, last bool) error
}

// Write returns the error of the first piece that could not be sent.
func (w *frameWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(w.buffer)+len(p) > message.MaxData {
		n := message.MaxData - len(w.buffer)
		w.buffer = append(w.buffer, p[:n]...)
		p = p[n:]
		if err := w.flush(false); err != nil {
			return 0, err
		}
	}
	w.buffer = append(w.buffer, p...)
	return written, nil
}

// Close sends the last piece.
func (w *frameWriter) Close() error { return w.flush(true) }

// Flush sends what is buffered. The first piece is sent even if it is empty, as the head of an
// answer is in it.
func (w *frameWriter) Flush() error {
	if w.begun && len(w.buffer) == 0 {
		return nil
	}
	return w.flush(false)
}

func (w *frameWriter) flush(last bool) error {
	err := w.send(w.buffer, last)
	w.buffer, w.begun = w.buffer[:0], true
	return err
}

// answerBody returns the writer of an answer's body. A small answer is one frame and states its
// length; the length of a larger one is not known when its first bytes are sent. Only requests on
// the addresses of BIND are counted.
func answerBody(st *stream, head message.Head, counted bool) *frameWriter {
	w := &frameWriter{}
	w.send = func(piece []byte, last bool) error {
		f := message.Frame{Kind: message.Data, Last: last, Payload: piece}
		if !w.begun {
			if counted {
				st.count(head.Status)
			}
			head.Length, head.Body = -1, piece
			if last {
				head.Length = int64(len(piece))
			}
			f.Kind, f.Payload = message.Answer, head.Encode()
		}
		return st.send(f, len(piece))
	}
	return w
}

// count counts an answer before it is sent, so that a caller who has it finds it counted.
func (st *stream) count(status uint16) {
	if isClosed(st.gone) {
		st.channel.counters.unanswered()
		return
	}
	st.channel.counters.answered(status, 1)
}

// restOfBody returns the writer of the body's bytes after the first frame.
func restOfBody(st *stream) *frameWriter {
	return &frameWriter{send: func(piece []byte, last bool) error {
		return st.send(message.Frame{Kind: message.Data, Last: last, Payload: piece}, len(piece))
	}}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
