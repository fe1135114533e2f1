package system

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A command that writes a line each time it runs.
func leaveLine(path string) string { return jsonOf(fields{"command": "echo ran >> " + path}) }

// Case 1: of a hundred equal requests at once, one runs and the others are refused.
func TestSignature_HundredEqualRequestsAtOnce(t *testing.T) {
	t.Parallel()
	d, marks := startDaemon(t), filepath.Join(sharedDir(t), "marks")
	r := d.sign("POST", "/shell", leaveLine(marks))
	var wg sync.WaitGroup
	statuses := make(chan int, 100)
	for range 100 {
		wg.Go(func() { statuses <- d.send(r).status })
	}
	wg.Wait()
	close(statuses)
	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	if count[200] != 1 || count[401] != 99 || lines(t, marks) != 1 {
		t.Errorf("answers %v and %d runs, want one 200, 99 times 401, and one run", count, lines(t, marks))
	}
	d.send(r).wantRefusal(t, 401, "nonce was used before")
	if n := lines(t, marks); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// Case 3: timestamps that are missing, malformed or outside the window are refused.
func TestSignature_BadTimestamp(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `TIME_WINDOW = "60s"`)
	now := time.Now().Unix()
	for timestamp, hint := range map[string]string{
		"-1795406403": "X-Auth-Timestamp", "noon": "X-Auth-Timestamp", "1e30": "X-Auth-Timestamp", "99999999999999999999": "X-Auth-Timestamp",
		fmt.Sprintf("%d.5", now): "X-Auth-Timestamp", fmt.Sprintf("0x%x", now): "X-Auth-Timestamp",
		strconv.FormatInt(now+100, 10): "ahead of this host's clock", strconv.FormatInt(now-100, 10): "behind this host's clock", "0": "behind",
	} {
		d.send(d.signAt("POST", "/shell", `{"command":"true"}`, timestamp)).wantRefusal(t, 401, hint)
	}
	r := d.sign("POST", "/shell", `{"command":"true"}`)
	d.exchange(strings.Replace(r.raw(), "X-Auth-Timestamp: "+r.timestamp+"\r\n", "", 1)).wantRefusal(t, 401, "X-Auth-Timestamp")
	d.wantNothingRun()
}

// wantNothingRun relies on the log, which has every command.
func (d *daemon) wantNothingRun() {
	d.t.Helper()
	if strings.Contains(d.log(), "Command started") {
		d.t.Errorf("a command ran:\n%s", d.log())
	}
}

// Case 4: nonces that are empty, huge or sent twice are refused.
func TestSignature_BadNonce(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	signed := func(nonce string) request {
		r := d.sign("POST", "/shell", `{"command":"true"}`)
		r.nonce, r.signature = nonce, mac(d.key, r.method, r.path, nonce, r.timestamp, r.body)
		return r
	}
	d.exchange(signed("").raw()).wantRefusal(t, 401, "X-Auth-Nonce")
	d.exchange(signed("short").raw()).wantRefusal(t, 401, "X-Auth-Nonce")
	d.exchange(signed(strings.Repeat("n", 65)).raw()).wantRefusal(t, 401, "X-Auth-Nonce")
	d.exchange(signed("aaaaaaaa bbbbbbbb").raw()).wantRefusal(t, 401, "X-Auth-Nonce")
	d.exchange(signed("aaaaaaaa\r\n bbbbbbbb").raw()).wantRefusal(t, 401, "X-Auth-Nonce")
	d.exchange(signed(strings.Repeat("n", 1<<20)).raw()).wantPlainRefusal(t, 431)
	for _, again := range []string{"X-Auth-Nonce: " + newNonce(), "x-auth-signature: " + strings.Repeat("0", 40), "X-AUTH-TIMESTAMP: 1"} {
		d.exchange(signed(newNonce()).raw(again)).wantRefusal(t, 401, "exactly one")
		r := signed(newNonce())
		d.exchange(strings.Replace(r.raw(), "Host: sidecar\r\n", "Host: sidecar\r\n"+again+"\r\n", 1)).wantRefusal(t, 401, "exactly one")
	}
	d.wantNothingRun()
}

// Case 7: the answer to a wrong signature does not show the right one.
func TestSignature_WrongOneRevealsNothing(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, wrong := range []string{strings.Repeat("0", 40), strings.Repeat("F", 39), strings.Repeat("A", 41), "not hex", strings.Repeat("z", 40)} {
		r := d.sign("POST", "/shell", `{"command":"true"}`)
		right := r.signature
		r.signature = wrong
		a := d.send(r)
		a.wantRefusal(t, 401, "ignature")
		a.wantChallenge(t)
		for what, text := range map[string]string{"answer": a.body + fmt.Sprint(a.header), "log": d.log()} {
			for i := 0; i+10 <= len(right); i += 10 {
				if strings.Contains(strings.ToUpper(text), right[i:i+10]) {
					t.Errorf("the %s holds a part of the right signature: %s", what, text)
				}
			}
		}
	}
	d.awaitLog("HTTP 401")
	d.wantNothingRun()
}

func (a answer) wantChallenge(t testing.TB) {
	t.Helper()
	if a.header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

func TestSignature_LowerCase(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.sign("POST", "/shell", `{"command":"echo in"}`)
	r.signature = strings.ToLower(r.signature)
	if a := d.send(r); a.status != 200 || a.Data == nil || a.Data.Stdout != "in\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// Case 8: no other spelling of a target is accepted.
func TestSignature_OtherSpellingsOfATarget(t *testing.T) {
	t.Parallel()
	d, body := startDaemon(t), `{"command":"true"}`
	for target, want := range map[string]struct {
		status int
		hint   string
	}{
		"/shell?":                        {400, "query"},
		"/shell?wait=false":              {400, "query"},
		"//shell":                        {404, "POST /shell"},
		"/shell/":                        {404, "POST /shell"},
		"/./shell":                       {404, "POST /shell"},
		"/x/../shell":                    {404, "POST /shell"},
		"/shell%0A":                      {404, "POST /shell"},
		"/%73hell":                       {404, "POST /shell"},
		"/SHELL":                         {404, "POST /shell"},
		"/shell#x":                       {404, "POST /shell"},
		"http://" + d.address + "/shell": {400, "path"},
		"*":                              {400, ""},
	} {
		t.Run(target, func(t *testing.T) {
			r := d.sign("POST", target, body)
			d.exchange(r.raw()).wantRefusal(t, want.status, want.hint)
		})
	}
	// A target that is not a URI is invalid HTTP, which net/http refuses.
	d.exchange(d.sign("POST", "shell", body).raw()).wantPlainRefusal(t, 400)
	d.wantNothingRun()
}

// Case 8: a changed part invalidates the signature.
func TestSignature_ChangedPart(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for name, change := range map[string]func(*request){
		"method":    func(r *request) { r.method = "PUT" },
		"path":      func(r *request) { r.path = "//shell" },
		"nonce":     func(r *request) { r.nonce = newNonce() },
		"timestamp": func(r *request) { r.timestamp = strconv.FormatInt(time.Now().Unix()+1, 10) },
		"body":      func(r *request) { r.body = `{"command":"trus"}` },
		"more body": func(r *request) { r.body += "\n" },
		"less body": func(r *request) { r.body = r.body[1:] },
	} {
		r := d.sign("POST", "/shell", `{"command":"true"}`)
		change(&r)
		a := d.exchange(r.raw())
		if a.status != 401 || !strings.Contains(a.Message, "signature does not match") {
			t.Errorf("changed %s: got %d %s", name, a.status, a.body)
		}
	}
	d.wantNothingRun()
}

// Case 12: every endpoint but the welcome needs a signature.
func TestSignature_EveryEndpointButTheWelcome(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, target := range []string{
		"GET /jobs", "GET /jobs/4pb4gcvgjscxb4sq", "GET /jobs/4pb4gcvgjscxb4sq/events", "DELETE /jobs/../shell", "POST /shell", "GET /shell", "PUT /shell", "HEAD /shell",
		"OPTIONS /shell", "TRACE /shell", "GET /favicon.ico", "GET /debug/pprof/", "GET //", "GET /%2e%2e/etc/passwd", "GET /\x7f",
	} {
		method, _, _ := strings.Cut(target, " ")
		a := d.dial().put(target + " HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 0\r\n\r\n").answer(method)
		if a.status != 401 && a.status != 400 {
			t.Errorf("%s: got %d %s", target, a.status, a.body)
		}
	}
	for _, target := range []string{"OPTIONS *", "CONNECT sidecar:1", "PRI *"} {
		method, _, _ := strings.Cut(target, " ")
		a := d.dial().put(target + " HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 0\r\n\r\n").answer(method)
		if a.status < 400 {
			t.Errorf("%s: got %d %s", target, a.status, a.body)
		}
	}
	for path, method := range map[string]string{"/jobs/no-such": "GET", "/jobs/../shell": "DELETE", "/": "POST"} {
		if a := d.exchange(d.sign(method, path, "").raw()); a.status != 404 && a.status != 405 {
			t.Errorf("signed %s %s: got %d %s", method, path, a.status, a.body)
		}
	}
	d.wantNothingRun()
}
