package system

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// delivered is one callback as its receiver gets it.
type delivered struct {
	header http.Header
	path   string
	query  string
	user   string
	body   string
}

// receiver accepts callbacks and answers each with reply, which gets their number, from 1.
type receiver struct {
	*httptest.Server
	t     testing.TB
	mu    sync.Mutex
	taken []delivered
}

func newReceiver(t testing.TB, reply func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	v := &receiver{t: t}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a body that is cut short is visible in the recorded callback
		user, password, _ := r.BasicAuth()
		v.mu.Lock()
		v.taken = append(v.taken, delivered{r.Header, r.URL.EscapedPath(), r.URL.RawQuery, user + ":" + password, string(body)})
		n := len(v.taken)
		v.mu.Unlock()
		reply(n, w, r)
	}))
	t.Cleanup(v.Close)
	return v
}

func ok(_ int, _ http.ResponseWriter, _ *http.Request) {}

func okReceiver() http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
}

func (v *receiver) all() []delivered {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]delivered(nil), v.taken...)
}

func (v *receiver) await(d *daemon, n int) []delivered {
	v.t.Helper()
	d.eventually("callbacks at the receiver", func() bool { return len(v.all()) >= n })
	return v.all()
}

// wantOutput checks that the body has exactly the two arguments that Func passes on.
func (c delivered) wantOutput(t testing.TB, stdout, stderr string) {
	t.Helper()
	var body map[string]map[string]string
	err := json.Unmarshal([]byte(c.body), &body)
	kwargs := body["kwargs"]
	if err != nil || len(body) != 1 || len(kwargs) != 2 || kwargs["stdout"] != stdout || kwargs["stderr"] != stderr {
		t.Errorf("the callback's body is %.300s (%v), want stdout %.100q and stderr %.100q", c.body, err, stdout, stderr)
	}
	if _, both := kwargs["stderr"]; !both {
		t.Errorf("no stderr in %.300s", c.body)
	}
}

func (c delivered) wantSigned(t testing.TB, key string) {
	t.Helper()
	want := mac(key, "POST", c.path, c.header.Get("X-Auth-Nonce"), c.header.Get("X-Auth-Timestamp"), c.body)
	if got := c.header.Get("X-Auth-Signature"); got != want {
		t.Errorf("the callback is signed %s, want %s", got, want)
	}
	if c.header.Get("Content-Type") != "application/json" {
		t.Errorf("the callback's Content-Type is %q", c.header.Get("Content-Type"))
	}
}

// Case 45: a callback is signed and delivered, whether the caller waits or not.
func TestCallback_WaitingAndNot(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	for i, wait := range []bool{true, false} {
		a := d.shell(fields{"command": "echo out; echo err >&2; exit 4", "wait": wait, "callbackURL": v.URL + "/api/v1/al/auln-%C3%A9?a=b"})
		if (a.Data.Stdout == "out\n") != wait {
			t.Errorf("wait %v: got %s", wait, a.body)
		}
		got := v.await(d, i+1)[i]
		got.wantOutput(t, "out\n", "err\n")
		got.wantSigned(t, testKey)
		if got.header.Get("X-Sidecar-Job-Id") != a.Data.JobID || got.header.Get("X-Sidecar-Exit-Code") != "4" || got.header.Get("X-Sidecar-Attempt") != "1" {
			t.Errorf("headers %v, job %s", got.header, a.Data.JobID)
		}
		if got.path != "/api/v1/al/auln-%C3%A9" || got.query != "a=b" {
			t.Errorf("sent to %s?%s", got.path, got.query)
		}
	}
}

func TestCallback_CallerHungUp(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 0.5; echo late", "callbackURL": v.URL})).raw())
	d.awaitLog("Command started")
	_ = w.Close()
	got := v.await(d, 1)[0]
	got.wantOutput(t, "late\n", "")
	got.wantSigned(t, testKey)
}

func TestCallback_EndAndTruncation(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t, "MAX_OUTPUT = 1024", `KILL_GRACE = "100ms"`), newReceiver(t, ok)
	d.shell(fields{"command": "yes | head -n 5000; sleep 60; true", "timeout": 1, "callbackURL": v.URL})
	got := v.await(d, 1)[0]
	end := strings.Repeat("y\n", 256)
	got.wantOutput(t, end+"\n[dataflux-func-sidecar: 8976 bytes left out]\n"+end, "")
	for name, want := range map[string]string{
		"X-Sidecar-Timed-Out": "true", "X-Sidecar-Signal": "SIGTERM", "X-Sidecar-Stdout-Bytes": "10000", "X-Sidecar-Truncated": "true", "X-Sidecar-Exit-Code": "",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
}

func TestCallback_LargeResult(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	d.shell(fields{"command": "yes 你好 | head -n 500000", "wait": false, "callbackURL": v.URL})
	got := v.await(d, 1)[0]
	got.wantOutput(t, strings.Repeat("你好\n", 500_000), "")
	got.wantSigned(t, testKey)
	d.wantPeaks(96, 64)
}

// Case 46: credentials in a callback URL are sent, and not logged.
func TestCallback_CredentialsInTheURL(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(500)
		}
	})
	d.shell(fields{"command": "true", "callbackURL": strings.Replace(v.URL, "http://", "http://canary-user:canary%40password@", 1) + "/canary-path"})
	for _, got := range v.await(d, 2) {
		if got.user != "canary-user:canary@password" {
			t.Errorf("sent as %q", got.user)
		}
		got.wantSigned(t, testKey)
	}
	// The same for a receiver that does not answer, or not in HTTP.
	d.shell(fields{"command": "true", "callbackURL": "http://canary-user:canary-password@127.0.0.1:1/canary-path"})
	d.shell(fields{"command": "true", "callbackURL": strings.Replace(v.URL, "http://", "https://canary-user:canary-password@", 1) + "/canary-path"})
	d.awaitLog("Callback to 127.0.0.1:1 failed")
	d.eventually("the failure of https", func() bool { return strings.Contains(d.log(), "HTTP response to HTTPS client") })
	if log := d.log(); strings.Contains(log, "canary") {
		t.Errorf("the log has the URL:\n%s", log)
	}
}

// Case 46: a callback URL of another kind is refused before the command starts.
func TestCallback_URLOfAnotherKind(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, url := range []string{
		"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "unix:///run/x", "//127.0.0.1/x", "127.0.0.1:80", "/x", "http://", "http:///x", "javascript:x",
		"http://127.0.0.1:99999999999/", "http://[::1/", "http://a\nb/", "http://" + strings.Repeat("a", 9000) + "/",
	} {
		d.try200(fields{"command": "true", "callbackURL": url, "wait": false}).wantRefusal(t, 400, "callbackURL")
	}
	d.wantNothingRun()
}

// A URL that is three times as long when escaped must not exceed a message between the roles.
func TestCallback_LongURL(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	before := d.networkPID()
	a := d.try200(fields{"command": "true", "callbackURL": v.URL + "/" + strings.Repeat("é", 4050)})
	if a.status != 200 && a.status != 400 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	time.Sleep(500 * time.Millisecond) // the end of the role would be logged within this time
	if strings.Contains(d.log(), "The network role ended") || d.networkPID() != before {
		t.Errorf("the role ended:\n%s", d.log())
	}
}
