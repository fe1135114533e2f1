package executor

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
	"dataflux-func-sidecar/test/testkit"
)

// Each entry is what a network role that was taken over might send. All of it must end the role.
func TestSession_LiesEndTheRole(t *testing.T) {
	post := message.PostFlag
	refusal := message.Refusal{Status: 400, Count: 1, Reason: "no"}.Encode()
	call := signed("GET", "/", "n", "").Encode()
	longCall := message.Call{Path: string(make([]byte, message.MaxHead+1))}.Encode()
	one := func(kind message.Kind, id uint64, payload []byte) []message.Frame {
		return []message.Frame{{Kind: kind, ID: id, Payload: payload}}
	}
	cases := map[string][]message.Frame{
		"a second Ready":                one(message.Ready, 0, []byte{1}),
		"Ready without its byte":        one(message.Ready, 0, nil),
		"requests that skip an id":      one(message.Request, 2, call),
		"request 0":                     one(message.Request, 0, call),
		"a request with PostFlag":       one(message.Request, 1|post, call),
		"a request cut short":           one(message.Request, 1, []byte{0, 0, 0, 9, 'x'}),
		"an empty request":              one(message.Request, 1, nil),
		"a request with a huge head":    one(message.Request, 1, longCall),
		"credit for no stream":          one(message.Credit, 1, message.CreditOf(1)),
		"credit for no callback":        one(message.Credit, 1|post, message.CreditOf(1)),
		"credit without a number":       one(message.Credit, 1, nil),
		"a hang-up of no stream":        one(message.Hangup, 5, nil),
		"the outcome of no callback":    one(message.Posted, 1, message.Outcome{Status: 200}.Encode()),
		"a Pong without a Ping":         one(message.Pong, 1, nil),
		"a malformed Refused":           one(message.Refused, 0, []byte{1}),
		"a flood of Refused":            slices.Repeat(one(message.Refused, 0, refusal), maxRefused+1),
		"Drained twice":                 {{Kind: message.Drained}, {Kind: message.Drained}},
		"the end of a stream":           {{Kind: message.Pong, ID: 1, Last: true}},
		"an answer, which is not its":   one(message.Answer, 1, message.Head{Status: 200}.Encode()),
		"a Setup, which is not its own": one(message.Setup, 0, nil),
		"a scrape without a socket":     one(message.Scrape, 1, nil),
	}
	for name, frames := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			for _, f := range frames {
				_ = r.network.Send(f) // the executor may have hung up already
			}
			if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
				t.Errorf("ended with %v, want ErrProtocol", err)
			}
			<-r.session.Ended()
		})
	}
}

func TestSession_CreditForUnsentBytesEndsTheRole(t *testing.T) {
	r := newRig(t, nil)
	id := r.request(`{"command":"sleep 5"}`)
	r.send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(1)})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
	r.executor.EndAll()
}

func TestSession_MoreRequestsThanConnectionsEndTheRole(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxConnections, o.Callbacks.MaxPending = 3, 1 })
	for range 5 {
		r.last++
		call := signed("POST", "/shell", "same-nonce-"+string(rune('a'+r.last)),
			`{"command":"sleep 5"}`)
		_ = r.network.Send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	}
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
	r.executor.EndAll()
}

func TestSession_FramesThatCrossAreNoLies(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"true"}`)
	r.send(message.Frame{Kind: message.Hangup, ID: 1})
	r.send(message.Frame{Kind: message.Credit, ID: 1, Payload: message.CreditOf(10)})
	if _, got := r.shell(`{"command":"echo still here"}`); got.Data.Stdout != "still here\n" {
		t.Errorf("got %+v, want still here", got)
	}
}

// A slow reader may not make the executor put more than the window onto the channel.
func TestStream_StopsAtItsWindow(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"head -c 2000000 /dev/zero | tr '\\0' x"}`)
	received := make(chan int)
	go func() {
		for {
			f, err := r.network.Receive()
			if err != nil {
				close(received)
				return
			}
			n := len(f.Payload)
			if f.Kind == message.Answer {
				head, _ := message.DecodeHead(f.Payload)
				n = len(head.Body)
			}
			received <- n
		}
	}()
	total := 0
	for quiet := false; !quiet; {
		select {
		case n := <-received:
			total += n
		case <-time.After(500 * time.Millisecond):
			quiet = total > 0
		}
	}
	if total > message.Window {
		t.Errorf("%d bytes came without credit, the window is %d", total, message.Window)
	}
	credit := binary.BigEndian.AppendUint32(nil, 100000)
	r.send(message.Frame{Kind: message.Credit, ID: 1, Payload: credit})
	if n := <-received; n == 0 {
		t.Error("nothing came after the credit")
	}
	r.send(message.Frame{Kind: message.Hangup, ID: 1})
}

// A role that was taken over needs no signature for sending what is refused.
func TestSession_UnreadRefusalsEndTheRole(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxConnections, o.Callbacks.MaxPending = 10, 10 })
	call := signed("POST", "/shell", "n", strings.Repeat("x", 1<<20))
	call.Signature = strings.Repeat("0", 40)
	before := heap()
	for id := uint64(1); ; id++ {
		request := message.Frame{Kind: message.Request, ID: id, Payload: call.Encode()}
		if r.network.Send(request) != nil ||
			r.network.Send(message.Frame{Kind: message.Hangup, ID: id}) != nil {
			break
		}
		if id == 1000 {
			t.Fatal("1000 refusals wait to be read")
		}
		if grown := heap() - before; grown > 40<<20 {
			t.Fatalf("%d bytes more are held after %d requests", grown, id)
		}
	}
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

func TestSession_LargeBodyEndsTheRole(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxBody = 1000 })
	call := signed("POST", "/shell", "n", strings.Repeat("x", 1001))
	_ = r.network.Send(message.Frame{Kind: message.Request, ID: 1, Payload: call.Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

// The other side does not read: neither may wait for that.
func TestSession_PingAndDrainDoNotBlock(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.session.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ping returned %v", err)
	}
	r.session.Drain()
}

// blockedLedger is a disk that hangs until it is let go.
type blockedLedger struct{ goOn chan struct{} }

func (l blockedLedger) Add([16]byte, int64) error {
	<-l.goOn
	return nil
}

// Callers whose time is up hang up and come again; their requests that still wait are bounded.
func TestVerify_HangingDiskIsBounded(t *testing.T) {
	ledger := blockedLedger{make(chan struct{})}
	r := newRig(t, func(o *Options) {
		o.Limits.MaxConnections, o.Callbacks.MaxPending = 20, 20
		o.Verifier = verifierOn(t, ledger)
	})
	refused := make(chan struct{}, 1000)
	go func() {
		for {
			f, err := r.network.Receive()
			if err != nil {
				return
			}
			if head, err := message.DecodeHead(f.Payload); err == nil && head.Status == 503 {
				refused <- struct{}{}
			}
		}
	}()
	for range 200 {
		id := r.request(`{"command":"true"}`)
		time.Sleep(time.Millisecond)
		r.send(message.Frame{Kind: message.Hangup, ID: id})
	}
	<-refused
	if n := r.executor.server.recording.Load(); n > 41 {
		t.Errorf("%d requests wait for the disk", n)
	}
	close(ledger.goOn)
}

func verifierOn(t *testing.T, ledger sign.Ledger) *sign.Verifier {
	t.Helper()
	verifier, err := sign.NewVerifier([]sign.Key{{Name: policy.DefaultKey, Secret: []byte(testKey)}}, 300*time.Second, time.Now,
		sign.NewNonceCache(300*time.Second, 10000, time.Now, ledger))
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// The network role is ended when it does not answer, and must not be for what the executor's disk
// does.
func TestVerify_ChannelIsReadWhileTheDiskHangs(t *testing.T) {
	ledger := blockedLedger{make(chan struct{})}
	r := newRig(t, func(o *Options) {
		o.Verifier, o.Jobs.MaxRunning = verifierOn(t, ledger), 100
	})
	const requests = 100
	go func() { // net.Pipe holds nothing: a reader that waits would hold this as well
		for range requests {
			r.request(`{"command":"true"}`)
		}
		r.send(message.Frame{Kind: message.Pong, ID: 1})
	}()
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		_, _ = r.network.Receive() // the Ping
	}()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := r.session.Ping(ctx); err != nil {
		t.Error(err)
	}
	<-pinged
	close(ledger.goOn)
	for range requests {
		if _, head, _ := r.answer(); head.Status != 200 {
			t.Errorf("got %d, want 200", head.Status)
		}
	}
}

// The Pong that follows a Drain says that no caller is accepted any more, so the Drain comes first.
func TestSession_DrainComesBeforeTheNextPing(t *testing.T) {
	for range 30 {
		r := newRig(t, nil)
		r.session.Drain()
		pinged := make(chan error, 1)
		go func() { pinged <- r.session.Ping(context.Background()) }()
		if f := r.receive(); f.Kind != message.Drain {
			t.Fatalf("got %s first, want Drain", f.Kind)
		}
		f := r.receive()
		r.send(message.Frame{Kind: message.Pong, ID: f.ID})
		if err := <-pinged; err != nil {
			t.Error(err)
		}
	}
}
