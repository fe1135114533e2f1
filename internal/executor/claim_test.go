package executor

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/sign"
)

// flakyLedger fails as often as it is told, after it has let as many through.
type flakyLedger struct{ let, fail atomic.Int32 }

func (l *flakyLedger) Add([16]byte, int64) error {
	if l.let.Add(-1) >= 0 || l.fail.Add(-1) < 0 {
		return nil
	}
	return errors.New("input/output error")
}

func withLedger(t *testing.T, l sign.Ledger) func(*Options) {
	t.Helper()
	verifier, err := sign.NewVerifier([]sign.Key{{Name: policy.DefaultKey, Secret: []byte(testKey)}}, 300*time.Second, time.Now,
		sign.NewNonceCache(300*time.Second, 1000, time.Now, l))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Verifier = verifier }
}

// The disk fails once, at the id of the job: the retry under the same id runs, and runs once.
func TestClaim_RetryAfterADiskFault(t *testing.T) {
	for _, callback := range []string{"", `,"callbackURL":"http://h:1/"`} {
		l := &flakyLedger{}
		l.let.Store(1)
		l.fail.Store(1)
		r := newRig(t, withLedger(t, l))
		body := `{"command":"echo ran","wait":true,"jobId":"mine"` + callback + `}`
		head, got := r.shell(body)
		if head.Status != 503 || head.RetryAfter == 0 {
			t.Fatalf("the first got %d %+v, want 503 with Retry-After", head.Status, got)
		}
		if r.owed() != 0 {
			t.Error("the callback of a refused job is owed")
		}
		if callback != "" {
			body = strings.Replace(body, callback, "",
				1) // so that no delivery comes between the answers
		}
		if head, got = r.shell(body); head.Status != 200 || got.Data.Stdout != "ran\n" {
			t.Errorf("the retry got %d %+v, want 200 with the output", head.Status, got)
		}
	}
}

// An attempt that did not run leaves its id claimed. A later one that is refused its callback must
// not turn that into a job that "was accepted before".
func TestClaim_RetryAfterARefusedCallback(t *testing.T) {
	r := newRig(t, nil)
	head, got := r.shell(`{"command":"true","jobId":"mine","workdir":"/no/such"}`)
	if head.Status != 400 {
		t.Fatalf("the first got %d %+v, want 400", head.Status, got)
	}
	r.executor.callbacks.maxPending = 0
	head, got = r.shell(`{"command":"true","jobId":"mine","callbackURL":"http://h:1/"}`)
	if head.Status != 503 {
		t.Fatalf("the second got %d %+v, want 503", head.Status, got)
	}
	if head, got := r.shell(`{"command":"echo ran","jobId":"mine"}`); head.Status != 200 ||
		got.Data.Stdout != "ran\n" {
		t.Errorf("the third got %d %+v, want 200 with the output", head.Status, got)
	}
}
