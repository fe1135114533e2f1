package executor

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// posted is one callback attempt as the network role got it.
type posted struct {
	id   uint64
	call message.Callback
	body []byte
}

func (p posted) header(name string) string {
	for i := 0; i < len(p.call.Headers); i += 2 {
		if p.call.Headers[i] == name {
			return p.call.Headers[i+1]
		}
	}
	return ""
}

// receivePost takes frames until one callback attempt is whole. Others may arrive among its frames, and
// answers, which are skipped.
func (r *rig) receivePost() posted {
	r.t.Helper()
	for {
		f := r.receive()
		id := f.ID &^ message.PostFlag
		switch f.Kind {
		case message.Post:
			call, err := message.DecodeCallback(f.Payload)
			if err != nil {
				r.t.Fatal(err)
			}
			r.posts[id] = posted{id: id, call: call}
		case message.Data:
			p := r.posts[id]
			p.body = append(p.body, f.Payload...)
			r.posts[id] = p
			if f.Last {
				return p
			}
		}
	}
}

func (r *rig) outcome(p posted, o message.Outcome) {
	r.t.Helper()
	r.send(message.Frame{Kind: message.Posted, ID: p.id, Payload: o.Encode()})
}

func TestACallbackHasTheTwoKeysAndASignatureThatHolds(t *testing.T) {
	for _, wait := range []string{"true", "false"} {
		r := newRig(t, nil)
		r.request(`{"command":"echo out; echo err >&2; exit 7","wait":` + wait + `,"callbackURL":"http://172.17.0.1:8088/api/v1/al/x?y=1"}`)
		p := r.receivePost()
		r.outcome(p, message.Outcome{Status: 200})
		var got map[string]map[string]string
		if err := json.Unmarshal(p.body, &got); err != nil {
			t.Fatal(err)
		}
		if want := map[string]map[string]string{"kwargs": {"stdout": "out\n", "stderr": "err\n"}}; !reflect.DeepEqual(got, want) {
			t.Errorf("wait %s: got %s", wait, p.body)
		}
		request := sign.Request{Method: "POST", Path: "/api/v1/al/x", Nonce: p.header("X-Auth-Nonce"), Timestamp: p.header("X-Auth-Timestamp"), Body: p.body}
		if p.header("X-Auth-Signature") != sign.Signature([]byte(testKey), request) {
			t.Errorf("wait %s: the signature does not hold", wait)
		}
		if p.call.Length != int64(len(p.body)) || p.header("X-Sidecar-Exit-Code") != "7" || len(p.header("X-Sidecar-Job-Id")) != 16 {
			t.Errorf("wait %s: got %+v", wait, p.call)
		}
		waitFor(t, func() bool { return r.owed() == 0 })
	}
}

func TestAFailedCallbackIsTriedAgainWithAFreshSignature(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://user:CANARY@h:1/"}`)
	first := r.receivePost()
	r.outcome(first, message.Outcome{Status: 500})
	second := r.receivePost()
	r.outcome(second, message.Outcome{Status: 204})
	if first.header("X-Sidecar-Job-Id") != second.header("X-Sidecar-Job-Id") || first.header("X-Auth-Nonce") == second.header("X-Auth-Nonce") {
		t.Error("a repetition needs the same job id and a fresh nonce")
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "Callback delivered to h:1 (HTTP 204)") })
	if strings.Contains(r.log.String(), "CANARY") {
		t.Error("the journal shows credentials of the URL")
	}
}

func TestACallbackOutlivesTheNetworkRole(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.receivePost()
	_ = r.network.Close()
	<-r.session.Ended()
	r.connect()
	r.outcome(r.receivePost(), message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
}

func TestAnExpiredCallbackIsReportedAsLost(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Callbacks.Expiry = time.Nanosecond })
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 302})
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "given up after CALLBACK_EXPIRY") })
}

func TestAStopKeepsWhatIsNotDelivered(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Error: "connection refused", RetryAfter: 30})
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "next attempt in") })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.executor.AbandonCallbacks(ctx)
	if !strings.Contains(r.log.String(), "is kept for the next start") || r.owed() != 0 {
		t.Errorf("the journal says:\n%s", r.log.String())
	}
}

func TestAReceiverThatHangsHoldsUpNoOther(t *testing.T) {
	r := newRig(t, nil)
	for range attemptsPerReceiver + 2 {
		r.request(`{"command":"true","wait":false,"callbackURL":"http://dead:1/"}`)
	}
	for range attemptsPerReceiver {
		r.receivePost() // and never answered
	}
	r.request(`{"command":"true","wait":false,"callbackURL":"http://alive:1/"}`)
	p := r.receivePost()
	if !strings.Contains(p.call.URL, "alive") {
		t.Errorf("the next attempt goes to %s", p.call.URL)
	}
	r.outcome(p, message.Outcome{Status: 200})
}

func TestTheQueueOfCallbacksIsBounded(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Callbacks.MaxPending = 1 })
	r.request(`{"command":"true","wait":false,"callbackURL":"http://dead:1/"}`)
	r.receivePost()
	head, got := r.shell(`{"command":"true","callbackURL":"http://dead:1/"}`)
	if head.Status != 503 || !strings.Contains(got.Message, "MAX_CALLBACKS") {
		t.Errorf("got %d %+v", head.Status, got)
	}
	if head, _ := r.shell(`{"command":"true"}`); head.Status != 200 {
		t.Errorf("a command without callback got %d", head.Status)
	}
}

func TestRetriesBackOffWithinTheirBounds(t *testing.T) {
	for attempt := 1; attempt < 100; attempt++ {
		pause := retryPause(attempt)
		if pause < 8*firstRetry/10 || pause > 12*maxRetry/10 {
			t.Errorf("attempt %d waits %s", attempt, pause)
		}
	}
}

func TestTheSignedPathIsTheOneThatIsSent(t *testing.T) {
	for text, want := range map[string]string{"http://h": "/", "http://h/a%20b?c": "/a%20b", "http://h/%E4%BD%A0": "/%E4%BD%A0"} {
		u, err := url.Parse(text)
		if err != nil || pathOf(u) != want {
			t.Errorf("%s: %s, %v", text, pathOf(u), err)
		}
	}
}

func TestACallbackWhoseTimeIsUpDoesNotWaitForItsTurn(t *testing.T) {
	r := newRig(t, nil)
	c := r.executor.courier
	d := &delivery{id: "late", url: &url.URL{Scheme: "http", Host: "busy:1"}, expires: time.Now().Add(50 * time.Millisecond)}
	g := c.enter(d.receiver())
	for range 100 { // a turn that is there at once is taken: the last attempt comes when the time is up
		if err := c.awaitSlot(g, &delivery{expires: time.Now()}, 2); err != nil {
			t.Fatal(err)
		}
		<-g.slots
	}
	for range attemptsPerReceiver {
		g.slots <- struct{}{}
	}
	if _, err := c.attemptThroughGate(d, 2); !errors.Is(err, errLate) {
		t.Errorf("got %v", err)
	}
}

// A URL that is too long for the channel must not end the role, wherever it comes from.
func TestACallbackThatIsTooLongForTheChannelFailsAlone(t *testing.T) {
	r := newRig(t, nil)
	d := &delivery{id: "long", url: &url.URL{Scheme: "http", Host: "h", Path: "/" + strings.Repeat("x", message.MaxHead)}, outcome: notStarted(refuse(400, "x"))}
	if _, err := r.session.post(t.Context(), d, []byte(testKey), 1); err == nil || !strings.Contains(err.Error(), "is the most") {
		t.Errorf("got %v", err)
	}
	if _, got := r.shell(`{"command":"echo on"}`); got.Data.Stdout != "on\n" {
		t.Errorf("got %+v", got)
	}
}
