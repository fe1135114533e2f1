package system

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestCallbacks_CommandLine lists what is owed, tries one again and drops another.
func TestCallbacks_CommandLine(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	var well atomic.Bool
	v := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	for _, id := range []string{"one", "two"} {
		d.shell(fields{"command": "true", "jobId": id, "callbackURL": v.URL + "/" + id})
		d.awaitLog("next attempt in 1h0m0s")
	}
	d.eventually("both to wait", func() bool {
		return strings.Count(d.cli("callbacks", "--json").stdout, `"state":"waiting"`) == 2
	})
	got := d.cli("callbacks").stdout
	receiver := v.Listener.Addr().String()
	wantText(t, got, "ID ", "one ", "two ", "the receiver answered HTTP 503", receiver)

	well.Store(true)
	d.cli("callbacks", "retry", "one", "none-such").want(
		t, 1, "one: is being sent\n", `no callback of a job "none-such" is owed`)
	d.awaitLog("Callback delivered")
	d.cli("callbacks", "drop", "two").want(t, 0, "two: is dropped\n")
	d.awaitLog("dropped, as ")
	d.eventually("an empty list", func() bool {
		return strings.Contains(d.cli("callbacks", "--json").stdout, `"callbacks":[]`)
	})
	for _, c := range v.all()[2:] {
		if c.path != "/one" {
			t.Errorf("got a callback at %s after the drop", c.path)
		}
	}
	for _, args := range [][]string{
		{"callbacks", "retry"}, {"callbacks", "drop", "a/b"}, {"callbacks", "other", "x"},
	} {
		if got := d.cli(args...).status; got != 2 {
			t.Errorf("%q: got exit status %d, want 2", args, got)
		}
	}
}
