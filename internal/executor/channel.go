package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"dataflux-func-sidecar/privsep/message"
)

var errRoleGone = errors.New("the network role ended meanwhile")

// channel multiplexes the streams of answers and callbacks over the connection to one network role.
type channel struct {
	conn       *message.Conn
	counters   *counters
	maxAnswers int // that are open at once
	closed     chan struct{}
	refusals   atomic.Int64 // being sent

	mu          sync.Mutex
	lastRequest uint64
	lastPost    uint64
	streams     map[uint64]*stream // by id; those of callbacks with PostFlag
	answers     int                // those of streams that are no callbacks
	posts       map[uint64]*post   // whose outcomes have not come
	holding     bool               // frames of streams are held back
	heldBytes   int64              // of payloads, since holding began
}

// maxHeld bounds the bytes of answers that readers have not read yet and that a reload carries
// over, for each channel.
const maxHeld = 256 << 20

func newChannel(conn *message.Conn, maxAnswers int, counters *counters) *channel {
	return &channel{
		conn: conn, counters: counters, maxAnswers: maxAnswers, closed: make(chan struct{}),
		streams: map[uint64]*stream{}, posts: map[uint64]*post{},
	}
}

// openAnswer opens the stream of an answer. Ids rise by one, starting at 1.
func (c *channel) openAnswer(id uint64) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != c.lastRequest+1 || id&message.PostFlag != 0 {
		return nil, fmt.Errorf("%w: request %d came after %d",
			message.ErrProtocol, id, c.lastRequest)
	}
	c.lastRequest = id
	if c.answers >= c.maxAnswers {
		return nil, fmt.Errorf("%w: more requests at once than connections", message.ErrProtocol)
	}
	st := newStream(c, id)
	c.add(st)
	return st, nil
}

// add needs mu, or that nothing else uses the channel yet.
func (c *channel) add(st *stream) {
	c.streams[st.id] = st
	if st.id&message.PostFlag == 0 {
		c.answers++
	}
}

// remove needs mu.
func (c *channel) remove(st *stream) {
	if c.streams[st.id] == st && st.id&message.PostFlag == 0 {
		c.answers--
	}
	delete(c.streams, st.id)
}

// post is one attempt to deliver a callback that the role has begun.
type post struct {
	channel *channel
	id      uint64
	done    chan struct{} // closed when the outcome has come
	outcome message.Outcome
}

// startPost begins an attempt, and writes the body on a goroutine of its own: a receiver that
// answers before it has read the whole body closes the stream. The caller is inside the gate. The
// error is errRoleGone, or that of a callback that is too large.
func (c *channel) startPost(
	g gate, callback message.Callback, writeBody func(io.Writer) error,
) (*post, error) {
	payload := callback.Encode()
	if len(payload) > message.MaxHead { // only from the state directory: such requests are refused
		return nil, fmt.Errorf("the URL and the headers of the callback have "+
			"%d bytes, at most %d are allowed", len(payload), message.MaxHead)
	}
	p, st := c.openPost()
	err := c.conn.Send(message.Frame{Kind: message.Post, ID: p.id, Payload: payload})
	if err != nil {
		c.closePost(p.id)
		return nil, errRoleGone
	}
	g.Go(func() {
		w := restOfBody(st)
		if writeBody(w) != nil {
			st.abort()
			return
		}
		_ = w.Close()
	})
	return p, nil
}

// await returns the role's outcome, errRoleGone, or the context's error. It leaves the gate while
// it waits.
func (p *post) await(ctx context.Context, g gate) (o message.Outcome, err error) {
	g.Leave()
	select {
	case <-p.done:
		o = p.outcome
	case <-p.channel.closed:
		err = errRoleGone
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.Enter()
	p.channel.closePost(p.id)
	return o, err
}

func (c *channel) openPost() (*post, *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastPost++
	p := &post{channel: c, id: c.lastPost, done: make(chan struct{})}
	st := newStream(c, p.id|message.PostFlag)
	c.add(st)
	c.posts[p.id] = p
	return p, st
}

func (c *channel) closePost(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.posts, id)
	c.abandon(id | message.PostFlag)
}

// posted passes the outcome of a callback to the attempt that waits for it.
func (c *channel) posted(id uint64, outcome message.Outcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.posts[id]; p != nil {
		delete(c.posts, id)
		p.outcome = outcome
		close(p.done)
		return nil
	}
	return c.checkKnown(id | message.PostFlag)
}

// addCredit lets a stream send n more bytes.
func (c *channel) addCredit(id uint64, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	if st == nil {
		return c.checkKnown(id)
	}
	if n <= 0 || st.credit+n > message.Window {
		return fmt.Errorf("%w: credit for bytes that were not sent", message.ErrProtocol)
	}
	st.credit += n
	st.changed.Broadcast()
	return nil
}

// hangUp closes the stream of an answer whose caller has gone.
func (c *channel) hangUp(id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[id] != nil && id&message.PostFlag == 0 {
		c.abandon(id)
		return nil
	}
	return c.checkKnown(id)
}

// checkKnown needs mu. A frame may cross with the end of its stream. One about a stream that never
// existed breaks the protocol.
func (c *channel) checkKnown(id uint64) error {
	known := id <= c.lastRequest
	if id&message.PostFlag != 0 {
		known = id&^message.PostFlag <= c.lastPost
	}
	if !known || id&^message.PostFlag == 0 {
		return fmt.Errorf("%w: stream %#x does not exist", message.ErrProtocol, id)
	}
	return nil
}

// count is how many streams have the flag in their ids.
func (c *channel) count(flag uint64) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.streams {
		if id&message.PostFlag == flag {
			n++
		}
	}
	return n
}

// close ends every stream and every attempt.
func (c *channel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.streams {
		c.abandon(id)
	}
	close(c.closed)
}

// abandon needs mu. It closes a stream that is not complete; one that does not exist is ignored.
func (c *channel) abandon(id uint64) {
	if st := c.streams[id]; st != nil {
		st.close()
	}
}

// hold holds back the frames of all streams from now on: writers that wait for credit go on.
func (c *channel) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding, c.heldBytes = true, 0
	for _, st := range c.streams {
		st.changed.Broadcast()
	}
}

// sendHeld ends hold, and starts to send what was held back.
func (c *channel) sendHeld(g gate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	for _, st := range c.streams {
		if len(st.held) > 0 {
			g.Go(st.sendHeld)
		}
	}
}

// trackRefusal counts a refusal while it is being sent.
func (c *channel) trackRefusal(send func()) {
	c.refusals.Add(1)
	defer c.refusals.Add(-1)
	send()
}

// tooManyRefusals reports a role that sends requests which are refused and does not read the
// refusals. It needs no signature for that, and each Hangup makes room for the next request. A
// working role is never that far behind.
func (c *channel) tooManyRefusals() bool { return c.refusals.Load() > int64(4*c.maxAnswers) }

// channelRef holds the channel to the network role that accepts callers, if there is one.
type channelRef struct {
	mu      sync.Mutex
	current *channel
	changed chan struct{} // closed when current changes
}

func newChannelRef() *channelRef { return &channelRef{changed: make(chan struct{})} }

func (r *channelRef) set(c *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(c)
}

// clear forgets c, unless another channel has replaced it.
func (r *channelRef) clear(c *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == c {
		r.replace(nil)
	}
}

func (r *channelRef) isCurrent(c *channel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current == c
}

// replace needs mu.
func (r *channelRef) replace(c *channel) {
	r.current = c
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns the channel once there is one, or the context's error.
func (r *channelRef) wait(ctx context.Context) (*channel, error) {
	for {
		r.mu.Lock()
		current, changed := r.current, r.changed
		r.mu.Unlock()
		if current != nil {
			return current, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
