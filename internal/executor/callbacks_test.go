package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
	"dataflux-func-sidecar/test/testkit"
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

// receivePost takes frames until one callback attempt is whole. Others may arrive among its frames,
// and answers, which are skipped.
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

func TestCallback_BodyAndSignature(t *testing.T) {
	for _, wait := range []string{"true", "false"} {
		r := newRig(t, nil)
		r.request(`{"command":"echo out; echo err >&2; exit 7","wait":` + wait +
			`,"callbackURL":"http://172.17.0.1:8088/api/v1/al/x?y=1"}`)
		p := r.receivePost()
		r.outcome(p, message.Outcome{Status: 200})
		var got map[string]map[string]string
		if err := json.Unmarshal(p.body, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]map[string]string{"kwargs": {"stdout": "out\n", "stderr": "err\n"}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("wait %s: got %s, want %v", wait, p.body, want)
		}
		request := sign.Request{
			Method: "POST", Path: "/api/v1/al/x", Body: p.body,
			Nonce: p.header("X-Auth-Nonce"), Timestamp: p.header("X-Auth-Timestamp"),
		}
		if p.header("X-Auth-Signature") != sign.Signature([]byte(testKey), request) {
			t.Errorf("wait %s: the signature does not hold", wait)
		}
		id, timestamp := p.header("X-Sidecar-Job-Id"), p.header("X-Auth-Timestamp")
		webhook := sign.NewWebhook([]byte(testKey), id, timestamp)
		_, _ = webhook.Write(p.body)
		if p.header("Webhook-Id") != id || p.header("Webhook-Timestamp") != timestamp ||
			p.header("Webhook-Signature") != webhook.Signature() {
			t.Errorf("wait %s: got %q, want headers of Standard Webhooks", wait, p.call.Headers)
		}
		if p.call.Length != int64(len(p.body)) || p.header("X-Sidecar-Exit-Code") != "7" ||
			len(p.header("X-Sidecar-Job-Id")) != 16 {
			t.Errorf("wait %s: got %+v, want length %d, exit code 7 and an id of 16 characters",
				wait, p.call, len(p.body))
		}
		waitFor(t, func() bool { return r.owed() == 0 })
	}
}

func TestCallback_RetryHasAFreshSignature(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://user:CANARY@h:1/"}`)
	first := r.receivePost()
	r.outcome(first, message.Outcome{Status: 500})
	second := r.receivePost()
	r.outcome(second, message.Outcome{Status: 204})
	if first.header("X-Sidecar-Job-Id") != second.header("X-Sidecar-Job-Id") ||
		first.header("X-Auth-Nonce") == second.header("X-Auth-Nonce") {
		t.Error("a repetition needs the same job id and a fresh nonce")
	}
	waitFor(t, func() bool {
		return strings.Contains(r.log.String(), "Callback delivered to h:1 (HTTP 204)")
	})
	if strings.Contains(r.log.String(), "CANARY") {
		t.Error("the journal shows credentials of the URL")
	}
}

func TestCallback_OutlivesTheNetworkRole(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.receivePost()
	_ = r.network.Close()
	<-r.session.Ended()
	r.connect()
	r.outcome(r.receivePost(), message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
}

func TestCallback_ExpiredIsLoggedAsLost(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Callbacks.Expiry = time.Nanosecond })
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 302})
	waitFor(t, func() bool {
		return strings.Contains(r.log.String(), "given up after CALLBACK_EXPIRY")
	})
}

func TestCallback_UndeliveredAtAStopIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Error: "connection refused", RetryAfter: 30})
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "next attempt in") })
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	r.executor.AbandonCallbacks(ctx)
	if !strings.Contains(r.log.String(), "is kept for the next start") || r.owed() != 0 {
		t.Errorf("the journal says:\n%s", r.log.String())
	}
}

// Func has all its functions at one host and port: those that hang delay no other.
func TestCallback_HangingReceiverDelaysNoOther(t *testing.T) {
	r := newRig(t, nil)
	post := func(path string) {
		r.request(`{"command":"true","wait":false,"callbackURL":"http://func:1` + path + `"}`)
	}
	const slow = 5
	for function := range slow {
		for n := range maxAttemptsPerURL + 2 {
			post(fmt.Sprintf("/slow/%d?n=%d", function, n))
		}
	}
	for range slow * maxAttemptsPerURL {
		r.receivePost() // and never answered
	}
	post("/fast")
	p := r.receivePost()
	if !strings.Contains(p.call.URL, "/fast") {
		t.Errorf("the next attempt goes to %s, want one to /fast", p.call.URL)
	}
	r.outcome(p, message.Outcome{Status: 200})
}

// TestCallback_Answers follows each answer that Func and others give. The hour of refusals is over
// at once.
func TestCallback_Answers(t *testing.T) {
	const again = "next attempt in"
	for _, c := range []struct {
		outcome  message.Outcome
		refusals time.Duration // maxRefusedTime
		want     string
	}{
		{message.Outcome{Status: 599}, time.Hour, "the task records of the API in Func say why"},
		{message.Outcome{Status: 404}, time.Hour, again},
		{message.Outcome{Status: 404}, 0, "after 0s of refusals: the receiver answered HTTP 404"},
		{message.Outcome{Status: 401}, 0, "after 0s of refusals: the receiver answered HTTP 401"},
		{message.Outcome{Status: 408}, 0, again},
		{message.Outcome{Status: 425}, 0, again},
		{message.Outcome{Status: 429}, 0, again},
		{message.Outcome{Status: 302}, 0, again},
		{message.Outcome{Status: 500}, 0, again},
		{message.Outcome{Status: 598}, 0, again},
		{message.Outcome{Error: "no answer in time"}, 0, again},
		{message.Outcome{Error: "connection refused"}, 0, again},
	} {
		r := newRig(t, nil)
		r.executor.callbacks.deliverer.maxRefuse = c.refusals
		r.request(`{"command":"true","wait":false,"jobId":"it","callbackURL":"http://h:1/f"}`)
		r.outcome(r.receivePost(), c.outcome)
		waitFor(t, func() bool { return strings.Contains(r.log.String(), c.want) })
		if c.want == again {
			r.outcome(r.receivePost(), message.Outcome{Status: 200})
		}
		waitFor(t, func() bool { return r.owed() == 0 })
	}
}

// A time of refusals ends with any other answer of the receiver, and not with a fault of this host.
func TestCallback_RefusedSince(t *testing.T) {
	r := newRig(t, nil)
	v := r.executor.callbacks.deliverer
	start := time.Now()
	d := v.newDelivery(ofDefault("it"), &url.URL{Scheme: "http", Host: "h:1"}, report{}, start.Add(time.Hour))
	for i, step := range []struct {
		answer answer
		want   time.Duration // after the start; negative: no time
	}{
		{answerOther, -1},
		{answerRefused, 1},
		{answerRefused, 1},
		{answerNone, 1},
		{answerRefused, 1},
		{answerOther, -1},
		{answerRefused, 6},
	} {
		d.noteFailure(failure{Text: "cause"}, step.answer, start.Add(time.Duration(i)))
		want := time.Time{}
		if step.want >= 0 {
			want = start.Add(step.want)
		}
		if !d.refusedSince.Equal(want) {
			t.Errorf("step %d: got %s, want %s", i, d.refusedSince, want)
		}
	}
}

func TestCallback_QueueIsBounded(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Callbacks.MaxPending = 1 })
	r.request(`{"command":"true","wait":false,"callbackURL":"http://dead:1/"}`)
	r.receivePost()
	head, got := r.shell(`{"command":"true","callbackURL":"http://dead:1/"}`)
	if head.Status != 503 || !strings.Contains(got.Message, "MAX_CALLBACKS") {
		t.Errorf("got %d %+v, want 503 that names MAX_CALLBACKS", head.Status, got)
	}
	if head, _ := r.shell(`{"command":"true"}`); head.Status != 200 {
		t.Errorf("a command without callback got %d, want 200", head.Status)
	}
}

func TestCallback_RetryPauses(t *testing.T) {
	for attempt := 1; attempt < 100; attempt++ {
		pause := retryPause(minRetry, attempt)
		if pause < 8*minRetry/10 || pause > 12*maxRetry/10 {
			t.Errorf("attempt %d waits %s", attempt, pause)
		}
	}
}

func TestCallback_SignedPath(t *testing.T) {
	for text, want := range map[string]string{
		"http://h": "/", "http://h/a%20b?c": "/a%20b", "http://h/%E4%BD%A0": "/%E4%BD%A0",
	} {
		u, err := url.Parse(text)
		if err != nil || signedPath(u) != want {
			t.Errorf("%s: %s, %v", text, signedPath(u), err)
		}
	}
}

func TestCallback_ExpiredDoesNotWaitForASlot(t *testing.T) {
	r := newRig(t, nil)
	v := r.executor.callbacks.deliverer
	d := v.newDelivery(ofDefault("late"), &url.URL{Scheme: "http", Host: "busy:1"}, report{},
		time.Now().Add(50*time.Millisecond))
	d.attempts = 1
	for range 100 { // a slot that is free is used: the last attempt is made when the time is up
		release, err := v.awaitSlots(d)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	for range maxAttemptsPerURL {
		if _, err := v.awaitSlots(d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.attempt(d); !errors.Is(err, errLate) {
		t.Errorf("got %v, want %v", err, errLate)
	}
}

// A receiver whose callbacks have a URL each has bounded attempts too.
func TestCallback_AttemptsOfAHostAreBounded(t *testing.T) {
	r := newRig(t, nil)
	v := r.executor.callbacks.deliverer
	attempt := func(host string, n int) error {
		u := &url.URL{Scheme: "http", Host: host, Path: fmt.Sprintf("/%d", n)}
		d := v.newDelivery(ofDefault("it"), u, report{}, time.Now())
		d.attempts = 1
		_, err := v.awaitSlots(d)
		return err
	}
	for n := range maxAttemptsPerHost {
		if err := attempt("busy:1", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := attempt("busy:1", maxAttemptsPerHost); !errors.Is(err, errLate) {
		t.Errorf("got %v, want %v", err, errLate)
	}
	if err := attempt("other:1", 0); err != nil {
		t.Errorf("got %v for another host, want a slot", err)
	}
}

// A URL that is too long for the channel must not end the role, wherever it comes from.
func TestCallback_TooLongForTheChannel(t *testing.T) {
	r := newRig(t, nil)
	v := r.executor.callbacks.deliverer
	u := &url.URL{Scheme: "http", Host: "h", Path: "/" + strings.Repeat("x", message.MaxHead)}
	d := v.newDelivery(ofDefault("long"), u, notStartedReport(refusalf(400, "x")), time.Now().Add(time.Hour))
	if _, err := v.attempt(d); err == nil ||
		!strings.Contains(err.Error(), "at most 24576 are allowed") {
		t.Errorf("got %v, want an error that names the bound", err)
	}
	if _, got := r.shell(`{"command":"echo on"}`); got.Data.Stdout != "on\n" {
		t.Errorf("got %+v, want an answer to the next request", got)
	}
}

// A network role that reads nothing, as one that was taken over may, does not hold up the stop.
func TestCallback_DrainOfARoleThatReadsNothing(t *testing.T) {
	r := newRig(t, nil)
	q := r.executor.callbacks
	d := q.deliverer.newDelivery(ofDefault("stuck"), &url.URL{Scheme: "http", Host: "h"},
		notStartedReport(refusalf(400, "x")), time.Now().Add(time.Hour))
	d.stored = true
	q.addPending(1)
	r.executor.runner.Enter()
	q.start(d)
	r.executor.runner.Leave()
	waitFor(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.attempts == 1
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r.executor.AbandonCallbacks(ctx)
	}()
	select {
	case <-drained:
	case <-time.After(testkit.Patience):
		t.Fatal("the stop waits for the role")
	}
}
