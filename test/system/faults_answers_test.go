package system

import (
	"net/http"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// After a refusal that asks to try later, a caller may repeat the request with the same job id.
func TestJobID_FreeAfterARefusal(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_CALLBACKS = 1", `DRAIN_TIMEOUT = "500ms"`)
	failing := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	d.shell(fields{"command": "true", "callbackURL": failing.URL})
	again := fields{"command": "echo once", "jobId": "later", "callbackURL": failing.URL}
	d.try200(again).wantRefusal(t, 503, "MAX_CALLBACKS")
	d.awaitLog("Callback delivered")
	d.eventually("room", func() bool { return d.try200(again).status != 503 })
	if a := d.try200(again); a.status != 200 || a.Data.Stdout != "once\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// The callback reports the end of the command, even if its caller reads the answer slowly, or had
// read it when the daemon was killed.
func TestCallback_AnswerIsNotRead(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	s := newService(t, m)
	v := s.receiver(8100)
	s.begin()
	slow := m.newErrand(plan{sleep: "0", wait: true, callback: v.url(), more: "; head -c 8000000 /dev/zero | tr '\\0' e >&2"})
	s.dial().put(s.sign("POST", "/shell", slow.body).raw())
	s.eventually("its callback", func() bool { return m.heard(slow) })
	for range 10 {
		e := m.newErrand(plan{sleep: "0", wait: true, callback: v.url()})
		if a := m.run(s.daemon, oneShot(), e); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		s.kill()
		s.begin()
		m.settle(testkit.Patience)
	}
}
