package executor

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

type owedCallback struct {
	JobID, Receiver, State, LastError string
	Attempts                          int
	NextAttemptAt                     *time.Time
	ExpiresAt                         time.Time
}

// ask sends a signed request and returns status and body of its answer, of one frame. Other frames
// are skipped.
func (r *rig) ask(method, path string) (uint16, string) {
	r.t.Helper()
	r.last++
	call := signed(method, path, fmt.Sprintf("nonce-%p-%d", r.session, r.last), "")
	r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	for {
		f := r.receive()
		if f.Kind != message.Answer || f.ID != r.last {
			continue
		}
		head, err := message.DecodeHead(f.Payload)
		if err != nil || !f.Last {
			r.t.Fatalf("got %v, last %t, want an answer of one frame", err, f.Last)
		}
		return head.Status, string(head.Body)
	}
}

// promise sends a command with a callback, and returns the first attempt once that and the answer
// have come.
func (r *rig) promise(id, url string) (p posted) {
	r.t.Helper()
	r.request(`{"command":"true","wait":false,"jobId":"` + id + `","callbackURL":"` + url + `"}`)
	for answered, whole := false, false; !answered || !whole; {
		f := r.receive()
		switch f.Kind {
		case message.Answer:
			answered = true
		case message.Post:
			call, err := message.DecodeCallback(f.Payload)
			if err != nil {
				r.t.Fatal(err)
			}
			p = posted{id: f.ID &^ message.PostFlag, call: call}
		case message.Data:
			whole = f.Last
		}
	}
	return p
}

func (r *rig) owedCallbacks() []owedCallback {
	r.t.Helper()
	status, body := r.ask("GET", "/callbacks")
	var got struct {
		Data struct{ Callbacks []owedCallback }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		r.t.Fatalf("got %d %s, %v", status, body, err)
	}
	return got.Data.Callbacks
}

// failing owes a callback that waits an hour for its next attempt.
func (r *rig) failing(id string) {
	r.t.Helper()
	p := r.promise(id, "http://user:CANARY@h:1/CANARY")
	r.outcome(p, message.Outcome{Status: 503, RetryAfter: 3600})
	r.awaitWaiting(id)
}

// awaitWaiting waits until a callback waits for its next attempt.
func (r *rig) awaitWaiting(id string) {
	r.t.Helper()
	waitFor(r.t, func() bool {
		d := mustFind(r.executor.callbacks.find(new(policy.Default()), id))
		return d != nil && d.view().state == "waiting"
	})
}

func longExpiry(o *Options) { o.Callbacks.Expiry = 24 * time.Hour }

func TestOwed_List(t *testing.T) {
	r := newRig(t, longExpiry)
	if got := r.owedCallbacks(); len(got) != 0 {
		t.Errorf("got %+v, want an empty list", got)
	}
	r.failing("first")
	r.failing("second")
	for range 2 {
		got := r.owedCallbacks()
		if len(got) != 2 || got[0].JobID != "first" || got[1].JobID != "second" {
			t.Fatalf("got %+v, want first and second", got)
		}
		c := got[0]
		if c.Receiver != "h:1" || c.State != "waiting" || c.Attempts != 1 ||
			c.LastError != "the receiver answered HTTP 503" || c.NextAttemptAt == nil ||
			!c.ExpiresAt.After(*c.NextAttemptAt) {
			t.Errorf("got %+v, want what the only attempt left", c)
		}
		if text := fmt.Sprintf("%+v", got); strings.Contains(text, "CANARY") {
			t.Errorf("the list shows more of a URL than host and port: %s", text)
		}
		r.reload(nil)
		r.awaitWaiting("first")
		r.awaitWaiting("second")
	}
}

// Foreign text is quoted in the journal, and by the form of the answer alone elsewhere, also after
// a reload.
func TestOwed_LastErrorIsForeign(t *testing.T) {
	r := newRig(t, longExpiry)
	const said = "lookup \"h\": no such host\nforged"
	r.outcome(r.promise("first", "http://h:1/"), message.Outcome{Error: said, RetryAfter: 3600})
	for range 2 {
		r.awaitWaiting("first")
		if got := r.owedCallbacks(); len(got) != 1 || got[0].LastError != said {
			t.Errorf("got %+v, want the error %q", got, said)
		}
		r.reload(nil)
	}
	r.awaitWaiting("first")
	if status, body := r.ask("DELETE", "/callbacks/first"); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	quoted := "the latest failure was: " + strconv.Quote(said)
	waitFor(t, func() bool { return strings.Contains(r.log.String(), strconv.Quote(quoted)[1:]) })
}

func TestOwed_Retry(t *testing.T) {
	r := newRig(t, longExpiry)
	r.failing("it")
	if status, body := r.ask("POST", "/callbacks/none/retry"); status != 404 {
		t.Errorf("got %d %s, want 404", status, body)
	}
	r.last++
	call := signed("POST", "/callbacks/it/retry", fmt.Sprintf("nonce-%p-%d", r.session, r.last), "")
	r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	p := r.receivePost() // the answer may come before it
	if got := p.header("X-Sidecar-Attempt"); got != "2" {
		t.Errorf("got attempt %s, want 2", got)
	}
	r.outcome(p, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
}

func TestOwed_Drop(t *testing.T) {
	r := newRig(t, longExpiry)
	r.failing("waits")
	r.promise("sends", "http://h:1/x") // and never answered
	for _, id := range []string{"waits", "sends"} {
		status, body := r.ask("DELETE", "/callbacks/"+id)
		if status != 200 || !strings.Contains(body, `"state":"dropped"`) {
			t.Errorf("%s: got %d %s, want 200 and the state dropped", id, status, body)
		}
	}
	waitFor(t, func() bool { return r.owed() == 0 })
	if n := strings.Count(r.log.String(), "dropped, as 127.0.0.1:1 asked for it"); n != 2 {
		t.Errorf("got %d entries, want 2:\n%s", n, r.log.String())
	}
	if status, body := r.ask("DELETE", "/callbacks/waits"); status != 404 {
		t.Errorf("got %d %s for a callback that was dropped, want 404", status, body)
	}
	if status, body := r.ask("POST", "/callbacks/waits"); status != 405 {
		t.Errorf("got %d %s, want 405", status, body)
	}
}

// A drop that a reload interrupts is carried over.
func TestOwed_DropAcrossReload(t *testing.T) {
	r := newRig(t, longExpiry)
	r.failing("waits")
	r.promise("sends", "http://h:1/x") // and never answered
	for _, id := range []string{"waits", "sends"} {
		d := mustFind(r.executor.callbacks.find(new(policy.Default()), id))
		d.mu.Lock()
		d.droppedBy = "127.0.0.1:1" // and its goroutine has not seen it
		d.mu.Unlock()
	}
	r.reload(nil)
	waitFor(t, func() bool {
		return r.owed() == 0 && strings.Count(r.log.String(), "dropped, as 127.0.0.1:1") == 2
	})
	c := r.session.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.posts) != 0 {
		t.Errorf("got %d attempts that are awaited, want none", len(c.posts))
	}
}
