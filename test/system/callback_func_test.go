package system

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// TestCallback_ReceiverLikeFunc has functions of one Func, all at one host and port: some never
// answer, and delay no other. Each of the others gets what its answer asks for.
func TestCallback_ReceiverLikeFunc(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "1s"`)
	release, answerPatient := make(chan struct{}), make(chan struct{})
	var known, allowed atomic.Bool
	v := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch name := r.URL.Path; {
		case strings.HasPrefix(name, "/slow"):
			<-release
		case name == "/patient":
			<-answerPatient
		case name == "/raises":
			w.WriteHeader(599)
		case name == "/unknown" && known.CompareAndSwap(false, true):
			w.WriteHeader(http.StatusNotFound)
		case name == "/forbidden" && allowed.CompareAndSwap(false, true):
			w.WriteHeader(http.StatusUnauthorized)
		case name == "/large" && r.ContentLength > 1<<20: // as nginx does
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	defer close(release)
	call := func(path, command string) {
		d.shell(fields{"command": command, "wait": false, "callbackURL": v.URL + path})
	}
	to := func(path string) (got []delivered) {
		for _, c := range v.all() {
			if c.path == path {
				got = append(got, c)
			}
		}
		return got
	}
	// Nothing listens at this port.
	d.shell(fields{"command": "true", "wait": false, "callbackURL": "http://127.0.0.1:1/dead"})
	d.awaitLog("Callback to 127.0.0.1:1 failed")
	d.shell(fields{
		"command": "true", "wait": false, "jobId": "patient", "callbackURL": v.URL + "/patient",
	})
	for n := range 5 {
		for range 5 {
			call(fmt.Sprintf("/slow/%d", n), "true")
		}
	}
	d.eventually("four attempts to each slow function", func() bool { return len(v.all()) >= 21 })

	call("/raises", "echo raises")
	d.awaitLog("HTTP 599: Func ran the function")
	for path, status := range map[string]string{"/unknown": "404", "/forbidden": "401"} {
		call(path, "echo late")
		d.awaitLog("the receiver answered HTTP " + status)
		d.eventually("a second attempt after "+status, func() bool { return len(to(path)) == 2 })
	}
	call("/large", "echo start; yes | head -c 2000000; echo end")
	d.eventually("a shortened body after 413", func() bool { return len(to("/large")) == 2 })

	// An attempt without an answer goes on meanwhile, and is not made twice.
	close(answerPatient)
	patient := regexp.MustCompile(`Callback delivered .*SIDECAR_JOB_ID=patient`)
	d.eventually("its delivery", func() bool { return patient.MatchString(d.log()) })
	if got := to("/patient"); len(got) != 1 {
		t.Errorf("a silent function was called %d times, want once", len(got))
	}

	if got := to("/raises"); len(got) != 1 {
		t.Errorf("a function that raises was run %d times, want once", len(got))
	}
	for _, c := range v.all() {
		c.wantSigned(t, testKey)
		c.wantWebhook(t, testKey)
	}
	short := to("/large")[1]
	if short.header.Get("X-Sidecar-Stdout-Omitted") != fmt.Sprint(2000010-64<<10) ||
		!strings.Contains(short.body, `y\nend\n"`) || len(short.body) > 200_000 {
		t.Errorf("got %d bytes, headers %v, want the start and the end", len(short.body),
			short.header)
	}
	for n := range 5 {
		if got := len(to(fmt.Sprintf("/slow/%d", n))); got != 4 {
			t.Errorf("got %d attempts at once to a slow function, want 4", got)
		}
	}
}

// wantWebhook checks the signature of Standard Webhooks.
func (c delivered) wantWebhook(t testing.TB, key string) {
	t.Helper()
	id, timestamp := c.header.Get("webhook-id"), c.header.Get("webhook-timestamp")
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(id + "." + timestamp + "." + c.body))
	want := "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	got := c.header.Get("webhook-signature")
	if got != want || id != c.header.Get("X-Sidecar-Job-Id") {
		t.Errorf("the callback of %s has the signature %s, want %s", id, got, want)
	}
}
