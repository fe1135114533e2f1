package executor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/test/testkit"
)

// testChannel has one stream, with credit for all that the tests send. The other end is the network
// role's.
func testChannel(t *testing.T) (*channel, *stream, *message.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	c := newChannel(message.NewConn(a, message.FromNetwork()), 1, newCounters("", configured{}))
	network := message.NewConn(b, message.FromExecutor())
	setup := message.Limits{MaxBody: 1, MaxConnections: 1}.Encode()
	go func() { _ = c.conn.Send(message.Frame{Kind: message.Setup, Payload: setup}) }()
	if _, err := network.Receive(); err != nil {
		t.Fatal(err)
	}
	st, err := c.openAnswer(1)
	if err != nil {
		t.Fatal(err)
	}
	return c, st, network
}

func wantAbort(t *testing.T, network *message.Conn) {
	t.Helper()
	if f, err := network.Receive(); err != nil || f.Kind != message.Abort || f.ID != 1 || !f.Last {
		t.Fatalf("got %s of stream %d, %v; want Abort of 1", f.Kind, f.ID, err)
	}
}

// A reader of an answer that a reload cannot carry over must not wait for its rest.
func TestStream_TooManyBytesHeld(t *testing.T) {
	c, st, network := testChannel(t)
	c.hold()
	piece := message.Frame{Kind: message.Data, Payload: make([]byte, 10)}
	if err := st.send(piece, 10); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.heldBytes = maxHeld
	c.mu.Unlock()
	for range 2 {
		if err := st.send(piece, 10); !errors.Is(err, errReaderGone) {
			t.Fatalf("above the bound: got %v, want %v", err, errReaderGone)
		}
	}
	st.abort() // as the writer does after an error
	c.sendHeld(noGate{})
	wantAbort(t, network)
	if n := c.count(0); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

func TestStream_Abort(t *testing.T) {
	c, st, network := testChannel(t)
	go func() { st.abort(); st.abort() }()
	wantAbort(t, network)
	if err := st.send(message.Frame{Kind: message.Data}, 0); !errors.Is(err, errReaderGone) {
		t.Errorf("after an abort: got %v, want %v", err, errReaderGone)
	}
	_ = c.conn.Close()
	if f, err := network.Receive(); err != io.EOF {
		t.Errorf("got %s and %v after the abort, want the end", f.Kind, err)
	}
}

// waitGate knows when its goroutines have ended.
type waitGate struct {
	noGate
	*sync.WaitGroup
}

func (g waitGate) Go(f func()) { g.WaitGroup.Go(f) }

// The end of a stream can come while a frame that was held back is on its way to the network role.
func TestStream_EndWhileHeldFramesAreSent(t *testing.T) {
	for name, test := range map[string]struct {
		holds  bool // frames are held back again
		end    func(*channel, *stream)
		aborts bool
	}{
		"the caller hangs up": {false, func(c *channel, _ *stream) { _ = c.hangUp(1) }, false},
		"the writer aborts":   {false, func(_ *channel, st *stream) { st.abort() }, true},
		"before a reload":     {true, func(_ *channel, st *stream) { st.abort() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, st, network := testChannel(t)
			c.hold()
			for range 2 {
				if err := st.send(message.Frame{Kind: message.Data, Payload: make([]byte, 10)}, 10); err != nil {
					t.Fatal(err)
				}
			}
			g := waitGate{WaitGroup: &sync.WaitGroup{}}
			c.sendHeld(g)
			waitFor(t, func() bool { // the first frame is on its way, and nobody reads it
				c.mu.Lock()
				defer c.mu.Unlock()
				return st.credit == message.Window-10
			})
			if test.holds {
				c.hold()
			}
			test.end(c, st)
			if f, err := network.Receive(); err != nil || f.Kind != message.Data {
				t.Fatalf("got %s and %v, want Data", f.Kind, err)
			}
			if test.holds {
				g.Wait()
				c.sendHeld(g)
			}
			if test.aborts {
				wantAbort(t, network)
			}
			g.Wait()
			if n := c.count(0); n != 0 {
				t.Errorf("got %d streams, want none", n)
			}
		})
	}
}

// An answer that has nothing to say sends its head once, and nothing after it.
func TestFrameWriter_Flush(t *testing.T) {
	var pieces []string
	w := &frameWriter{send: func(piece []byte, last bool) error {
		pieces = append(pieces, fmt.Sprintf("%s %t", piece, last))
		return nil
	}}
	for _, text := range []string{"", "", "a", "", ""} {
		_, _ = io.WriteString(w, text)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	if want := []string{" false", "a false", " true"}; !slices.Equal(pieces, want) {
		t.Errorf("got %q, want %q", pieces, want)
	}
}

// A caller who follows a silent job and hangs up is forgotten, although nothing is sent to it.
func TestFollower_HangsUp(t *testing.T) {
	for _, path := range []string{"output", "events"} {
		r := newRig(t, nil)
		r.shell(`{"command":"sleep 60","wait":false,"jobId":"silent"}`)
		j := mustFind(r.executor.jobs.find(new(policy.Default()), "silent"))
		defer j.release()
		before := j.readers.Load()
		r.send(r.callFrame("GET", "/jobs/silent/"+path, ""))
		if f := r.receive(); f.Kind != message.Answer {
			t.Fatalf("%s: got %s, want Answer", path, f.Kind)
		}
		r.send(message.Frame{Kind: message.Hangup, ID: r.last})
		waitFor(t, func() bool { return j.readers.Load() == before })
	}
}

// countGate counts its goroutines.
type countGate struct {
	noGate
	running atomic.Int32
}

func (g *countGate) Go(f func()) {
	g.running.Add(1)
	go func() {
		defer g.running.Add(-1)
		f()
	}()
}

// After a second reload that was refused before it held frames back, those of the first are sent
// once and in order.
func TestStream_HeldFramesAreSentOnce(t *testing.T) {
	c, st, network := testChannel(t)
	c.hold()
	const frames = 100
	for i := range frames {
		if err := st.send(message.Frame{Kind: message.Data, Payload: []byte{byte(i)}}, 1); err != nil {
			t.Fatal(err)
		}
	}
	g := &countGate{}
	for range 3 {
		c.sendHeld(g)
	}
	waitFor(t, func() bool { return g.running.Load() == 1 })
	go func() { _ = st.send(message.Frame{Kind: message.Data, Last: true, Payload: []byte{frames}}, 1) }()
	for i := range frames + 1 {
		f, err := network.Receive()
		if err != nil || len(f.Payload) != 1 || f.Payload[0] != byte(i) || f.Last != (i == frames) {
			t.Fatalf("frame %d: got %v, last %t, %v", i, f.Payload, f.Last, err)
		}
	}
}

// Attempts of callbacks, of which a smaller MAX_CALLBACKS may leave any number, take no room from
// requests, and an answer that is complete gives its room back.
func TestChannel_CallbacksTakeNoRoomFromAnswers(t *testing.T) {
	c, st, network := testChannel(t)
	for range 5 {
		c.openPost()
	}
	if _, err := c.openAnswer(2); !errors.Is(err, message.ErrProtocol) {
		t.Errorf("a second answer at once: got %v, want %v", err, message.ErrProtocol)
	}
	go func() { _ = st.send(message.Frame{Kind: message.Data, Last: true}, 0) }()
	if _, err := network.Receive(); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(5) {
		if _, err := c.openAnswer(3 + id); err != nil {
			t.Errorf("answer %d: got %v, want a stream", 3+id, err)
		}
		if err := c.hangUp(3 + id); err != nil {
			t.Error(err)
		}
	}
}

// An Abort does not wait for the reader, as the frames in whose place it is sent do.
func TestStream_AbortNeedsNoCredit(t *testing.T) {
	c, st, network := testChannel(t)
	c.hold()
	c.mu.Lock()
	st.credit = 0
	c.mu.Unlock()
	if err := st.send(message.Frame{Kind: message.Data, Payload: make([]byte, 10)}, 10); err != nil {
		t.Fatal(err)
	}
	g := &countGate{}
	c.sendHeld(g)
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return st.sendingHeld
	})
	st.abort()
	aborted := make(chan struct{})
	go func() {
		defer close(aborted)
		if f, err := network.Receive(); err != nil || f.Kind != message.Abort {
			t.Errorf("got %s and %v, want Abort", f.Kind, err)
		}
	}()
	select {
	case <-aborted:
	case <-time.After(testkit.Patience):
		t.Fatal("the Abort waits for credit")
	}
}
