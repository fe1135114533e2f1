package executor

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// Each entry is what a network role that was taken over might send. All of it must end the role.
func TestANetworkRoleThatLiesIsEnded(t *testing.T) {
	post := message.PostFlag
	cases := map[string][]message.Frame{
		"a second Ready":                {{Kind: message.Ready, Payload: []byte{1}}},
		"Ready without its byte":        {{Kind: message.Ready}},
		"requests that skip an id":      {{Kind: message.Request, ID: 2, Payload: signed("GET", "/", "n", "").Encode()}},
		"request 0":                     {{Kind: message.Request, ID: 0, Payload: signed("GET", "/", "n", "").Encode()}},
		"a request with PostFlag":       {{Kind: message.Request, ID: 1 | post, Payload: signed("GET", "/", "n", "").Encode()}},
		"a request cut short":           {{Kind: message.Request, ID: 1, Payload: []byte{0, 0, 0, 9, 'x'}}},
		"an empty request":              {{Kind: message.Request, ID: 1}},
		"a request with a huge head":    {{Kind: message.Request, ID: 1, Payload: message.Call{Path: string(make([]byte, message.MaxHead+1))}.Encode()}},
		"credit for no stream":          {{Kind: message.Credit, ID: 1, Payload: message.CreditOf(1)}},
		"credit for no callback":        {{Kind: message.Credit, ID: 1 | post, Payload: message.CreditOf(1)}},
		"credit without a number":       {{Kind: message.Credit, ID: 1}},
		"a hang-up of nobody":           {{Kind: message.Hangup, ID: 5}},
		"the outcome of no callback":    {{Kind: message.Posted, ID: 1, Payload: message.Outcome{Status: 200}.Encode()}},
		"a Pong without a Ping":         {{Kind: message.Pong, ID: 1}},
		"a malformed Refused":           {{Kind: message.Refused, Payload: []byte{1}}},
		"Drained twice":                 {{Kind: message.Drained}, {Kind: message.Drained}},
		"the end of a stream":           {{Kind: message.Pong, ID: 1, Last: true}},
		"an answer, which is not its":   {{Kind: message.Answer, ID: 1, Payload: message.Head{Status: 200}.Encode()}},
		"a Setup, which is not its own": {{Kind: message.Setup}},
		"a scrape without a socket":     {{Kind: message.Scrape, ID: 1}},
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

func TestCreditForBytesThatWereNotSentEndsTheRole(t *testing.T) {
	r := newRig(t, nil)
	id := r.request(`{"command":"sleep 5"}`)
	r.send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(1)})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
	r.executor.EndAll()
}

func TestMoreRequestsThanConnectionsEndTheRole(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxConnections, o.Callbacks.MaxPending = 3, 1 })
	for range 5 {
		r.last++
		call := signed("POST", "/shell", "same-nonce-"+string(rune('a'+r.last)), `{"command":"sleep 5"}`)
		_ = r.network.Send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	}
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
	r.executor.EndAll()
}

func TestWhatCrossesWithTheEndOfAStreamIsNoLie(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"true"}`)
	r.send(message.Frame{Kind: message.Hangup, ID: 1})
	r.send(message.Frame{Kind: message.Credit, ID: 1, Payload: message.CreditOf(10)})
	if _, got := r.shell(`{"command":"echo still here"}`); got.Data.Stdout != "still here\n" {
		t.Errorf("got %+v", got)
	}
}

// A slow reader may not make the executor put more than the window onto the channel.
func TestAStreamStopsAtItsWindow(t *testing.T) {
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
	r.send(message.Frame{Kind: message.Credit, ID: 1, Payload: binary.BigEndian.AppendUint32(nil, 100000)})
	if n := <-received; n == 0 {
		t.Error("nothing came after the credit")
	}
	r.send(message.Frame{Kind: message.Hangup, ID: 1})
}

// A role that was taken over needs no signature for sending what is refused.
func TestARoleThatReadsNoRefusalsIsEndedBeforeTheyFillTheMemory(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxConnections, o.Callbacks.MaxPending = 10, 10 })
	call := signed("POST", "/shell", "n", strings.Repeat("x", 1<<20))
	call.Signature = strings.Repeat("0", 40)
	before := heap()
	for id := uint64(1); ; id++ {
		if r.network.Send(message.Frame{Kind: message.Request, ID: id, Payload: call.Encode()}) != nil || r.network.Send(message.Frame{Kind: message.Hangup, ID: id}) != nil {
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

func TestABodyThatIsLargerThanAllowedEndsTheRole(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits.MaxBody = 1000 })
	_ = r.network.Send(message.Frame{Kind: message.Request, ID: 1, Payload: signed("POST", "/shell", "n", strings.Repeat("x", 1001)).Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

// Nobody reads on the other side: neither may wait for that.
func TestPingAndDrainDoNotWaitForARoleThatReadsNothing(t *testing.T) {
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

// Callers whose time is up hang up and come again; what they left behind is bounded.
func TestWhatWaitsForAHangingDiskIsBounded(t *testing.T) {
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
	if n := r.executor.recording.Load(); n > 41 {
		t.Errorf("%d requests wait for the disk", n)
	}
	close(ledger.goOn)
}

func verifierOn(t *testing.T, ledger sign.Ledger) *sign.Verifier {
	t.Helper()
	verifier, err := sign.NewVerifier([][]byte{[]byte(testKey)}, 300*time.Second, time.Now, sign.NewNonceCache(300*time.Second, 10000, time.Now, ledger))
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// The network role is ended when it does not answer, and must not be for what the executor's disk does.
func TestTheChannelIsReadWhileTheDiskHangs(t *testing.T) {
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
	go func() { _, _ = r.network.Receive() }() // the Ping
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.session.Ping(ctx); err != nil {
		t.Error(err)
	}
	close(ledger.goOn)
	for range requests {
		if _, head, _ := r.answer(); head.Status != 200 {
			t.Errorf("got %d", head.Status)
		}
	}
}
