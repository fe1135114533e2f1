package system

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
)

// signer signs HTTP messages, written independently from docs/protocol.md.
type signer struct{ key ed25519.PrivateKey }

func newSigner(t testing.TB) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

func (s signer) public() string {
	return base64.StdEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// lines are those of a key with the name.
func (s signer) lines(name string, more ...string) []string {
	return append([]string{"[KEY." + name + "]", `PUBLIC_KEYS = "` + s.public() + `"`}, more...)
}

// message is a request with an HTTP message signature.
type message struct {
	method, host, path, body string
	headers                  []string
	nonce                    string
}

func (s signer) sign(method, host, path, body string) message {
	return s.signAt(method, host, path, body, newNonce(), time.Now().Unix(), "sha-256")
}

func (s signer) signAt(method, host, path, body, nonce string, created int64, algorithm string) message {
	m := message{method: method, host: host, path: path, body: body, nonce: nonce}
	covered := []string{"@method", "@authority", "@path", "@query"}
	values := []string{method, host, path, "?"}
	if body != "" {
		short, long := sha256.Sum256([]byte(body)), sha512.Sum512([]byte(body))
		sum := short[:]
		if algorithm == "sha-512" {
			sum = long[:]
		}
		digest := algorithm + "=:" + base64.StdEncoding.EncodeToString(sum) + ":"
		covered, values = append(covered, "content-digest"), append(values, digest)
		m.headers = append(m.headers, "Content-Digest: "+digest)
	}
	params := fmt.Sprintf(`("%s");created=%d;keyid="%s";nonce="%s"`, strings.Join(covered, `" "`), created, s.public(), nonce)
	base := ""
	for i, name := range covered {
		base += fmt.Sprintf("%q: %s\n", name, values[i])
	}
	signature := ed25519.Sign(s.key, []byte(base+`"@signature-params": `+params))
	m.headers = append(m.headers, "Signature-Input: sig1="+params,
		"Signature: sig1=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return m
}

// raw returns m as bytes for a connection, with further header lines.
func (m message) raw(lines ...string) string {
	head := []string{
		m.method + " " + m.path + " HTTP/1.1", "Host: " + m.host, "Content-Type: application/json",
		"Content-Length: " + strconv.Itoa(len(m.body)), "Connection: close",
	}
	head = append(append(head, m.headers...), lines...)
	return strings.Join(head, "\r\n") + "\r\n\r\n" + m.body
}

func TestMessage_RunsAndAnswers(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	d := startDaemon(t, append([]string{`[ACTION.hello]`, `RUN = "echo hello"`}, s.lines("fleet", `ACTIONS = ["hello"]`)...)...)
	for _, algorithm := range []string{"sha-256", "sha-512"} {
		m := s.signAt("POST", d.address, "/shell", `{"action":"hello"}`, newNonce(), time.Now().Unix(), algorithm)
		if a := d.exchange(m.raw()); a.status != 200 || a.Data == nil || a.Data.Stdout != "hello\n" {
			t.Errorf("%s: got %d %s, want the output of the action", algorithm, a.status, a.body)
		}
	}
	if a := d.exchange(s.sign("GET", d.address, "/actions", "").raw()); !strings.Contains(a.body, `"key":"fleet"`) {
		t.Errorf("without a body: got %d %s, want the actions of fleet", a.status, a.body)
	}
	d.exchange(s.sign("POST", d.address, "/shell", `{"command":"id"}`).raw()).wantRefusal(t, 403, "may run the action hello")
	if a := d.run("echo other"); a.Data.Stdout != "other\n" {
		t.Errorf("the stock signature: got %s, want it to go on", a.body)
	}
	if !strings.Contains(d.log(), "SIDECAR_KEY=fleet") {
		t.Error("the journal has no entry about the key")
	}
}

// Case: a key of many hosts. What is signed for one of them is refused by another.
func TestMessage_OtherHost(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	one, two := startDaemon(t, s.lines("fleet")...), startDaemon(t, s.lines("fleet")...)
	listed := startDaemon(t, append([]string{`SIGNED_HOSTS = "api.example.com, 192.0.2.9:1"`}, s.lines("fleet")...)...)
	body := `{"command":"echo ran"}`
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	byName := 200
	if policy.OwnName(hostname) == "" {
		byName = 401
	}
	for _, c := range []struct {
		host   string
		to     *daemon
		status int
	}{
		{one.address, one, 200},
		{one.address, two, 401},
		{two.address, one, 401},
		{strings.ToLower(hostname) + ":8099", one, byName},
		{strings.ToLower(hostname) + "x:8099", one, 401},
		{"localhost:8099", one, 200}, // its address is one of loopback
		{"localhost", one, 401},
		{"sidecar.example.com:8099", one, 401},
		{listed.address, listed, 401},
		{"api.example.com", listed, 200},
		{"api.example.com:443", listed, 200},
		{"192.0.2.9:1", listed, 200},
		{"192.0.2.9:2", listed, 401},
	} {
		a := c.to.exchange(s.sign("POST", c.host, "/shell", body).raw())
		if a.status != c.status || c.status == 401 && !strings.Contains(a.Message, "signed for another host, "+c.host) {
			t.Errorf("signed for %s, sent to %s: got %d %s, want %d", c.host, c.to.address, a.status, a.body, c.status)
		}
	}
	m := s.sign("POST", one.address, "/shell", body)
	m.host = two.address
	two.exchange(m.raw()).wantRefusal(t, 401, "does not match") // another Host than was signed
	m.host = strings.ToUpper(one.address)
	if a := one.exchange(m.raw()); a.status != 200 {
		t.Errorf("the same request to its host: got %d %s, want 200", a.status, a.body)
	}
	if n := strings.Count(two.log(), "echo ran"); n != 0 {
		t.Errorf("the other host ran it %d times, want 0", n)
	}
}

// A request is accepted once, also after a restart and a reload, and its nonce is used up for the
// other way to sign as well.
func TestMessage_ReplayAcrossRestartAndReload(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	d := startDaemon(t, s.lines("fleet")...)
	m := s.sign("POST", d.address, "/shell", `{"command":"echo once"}`)
	mac := d.sign("POST", "/shell", `{"command":"echo once"}`)
	if a := d.exchange(m.raw()); a.status != 200 {
		t.Fatalf("the first time: got %d %s", a.status, a.body)
	}
	if a := d.send(mac); a.status != 200 {
		t.Fatalf("the first time: got %d %s", a.status, a.body)
	}
	moved := d.sign("POST", "/shell", `{"command":"echo moved"}`)
	moved.nonce = m.nonce
	moved.signature = mac.resigned(d, moved)
	check := func(when string) {
		d.exchange(m.raw()).wantRefusal(t, 401, "nonce was used before")
		d.send(moved).wantRefusal(t, 401, "nonce was used before")
		d.exchange(s.signAt("POST", d.address, "/shell", m.body, mac.nonce, time.Now().Unix(), "sha-256").raw()).
			wantRefusal(t, 401, "nonce was used before")
		if t.Failed() {
			t.Fatalf("%s", when)
		}
	}
	check("at once")
	d.wantReloaded()
	check("after a reload")
	d.restart(syscall.SIGKILL)
	check("after a kill")
	if n := strings.Count(d.log(), "echo once"); n != 2 {
		t.Errorf("it ran %d times, want 2", n)
	}
}

// resigned is the signature of r for the key of the daemon.
func (request) resigned(d *daemon, r request) string {
	return mac(d.key, r.method, r.path, r.nonce, r.timestamp, r.body)
}

func TestMessage_Window(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	d := startDaemon(t, s.lines("fleet")...)
	for _, offset := range []int64{-400, 400} {
		m := s.signAt("GET", d.address, "/jobs", "", newNonce(), time.Now().Unix()+offset, "")
		d.exchange(m.raw()).wantRefusal(t, 401, "outside the time window")
	}
}

// What is wrong with the headers is refused on the wire, and the same request is accepted without.
func TestMessage_RefusedHeaders(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	d := startDaemon(t, s.lines("fleet")...)
	good := s.sign("POST", d.address, "/shell", `{"command":"true"}`)
	other := s.sign("POST", d.address, "/shell", `{"command":"true"}`)
	without := func(prefix string) message {
		m := good
		m.headers = nil
		for _, line := range good.headers {
			if !strings.HasPrefix(line, prefix) {
				m.headers = append(m.headers, line)
			}
		}
		return m
	}
	for name, c := range map[string]struct {
		raw, hint string
	}{
		"no Signature":              {without("Signature:").raw(), "Signature"},
		"no Signature-Input":        {without("Signature-Input:").raw(), "exactly one Signature-Input header, and has 0"},
		"no Content-Digest":         {without("Content-Digest:").raw(), "Content-Digest"},
		"Signature twice":           {good.raw(other.headers[2]), "exactly one Signature header, and has 2"},
		"Signature-Input twice":     {good.raw(other.headers[1]), "exactly one Signature-Input header, and has 2"},
		"Content-Digest twice":      {good.raw(good.headers[0]), "exactly one Content-Digest header, and has 2"},
		"the other way too":         {good.raw("X-Auth-Signature: " + strings.Repeat("0", 40)), "sign in one of the two ways"},
		"a nonce of the other way":  {good.raw("X-Auth-Nonce: " + newNonce()), "sign in one of the two ways"},
		"empty Signature":           {without("Signature:").raw("Signature:"), "Signature header is empty"},
		"empty Content-Digest":      {without("Content-Digest:").raw("Content-Digest:"), "Content-Digest header is empty"},
		"long Signature":            {without("Signature:").raw("Signature: sig1=:" + strings.Repeat("A", 600) + ":"), "longer than 512 bytes"},
		"long Signature-Input":      {without("Signature-Input:").raw("Signature-Input: " + strings.Repeat("a", 600)), "longer than 512 bytes"},
		"a signature of the header": {without("Signature:").raw(other.headers[2]), "does not match"},
	} {
		a := d.exchange(c.raw)
		if a.status != 401 || !strings.Contains(a.Message, c.hint) {
			t.Errorf("%s: got %d %s, want 401 and %q", name, a.status, a.body, c.hint)
		}
	}
	d.exchange(strings.Replace(good.raw(), "/shell ", "/shell? ", 1)).wantRefusal(t, 400, "query")
	if a := d.exchange(good.raw()); a.status != 200 {
		t.Errorf("the request as it was: got %d %s, want 200", a.status, a.body)
	}
}

// No body is decoded before signature and digest hold, and a stranger learns neither keys nor paths.
func TestMessage_NothingIsDecodedBefore(t *testing.T) {
	t.Parallel()
	s, stranger := newSigner(t), newSigner(t)
	d := startDaemon(t, s.lines("fleet")...)
	var texts []string
	for _, path := range []string{"/shell", "/nothing"} {
		m := stranger.sign("POST", d.address, path, `{"command":`)
		a := d.exchange(m.raw())
		a.wantRefusal(t, 401, "does not match")
		texts = append(texts, a.body)
		m = s.sign("POST", d.address, path, `{"command":"true"}`)
		m.path = "/other"
		texts = append(texts, d.exchange(m.raw()).body)
	}
	for _, text := range texts[1:] {
		if text != texts[0] {
			t.Errorf("got %s and %s, want one answer for all that does not hold", texts[0], text)
		}
	}
	m := s.sign("POST", d.address, "/shell", `{"command":"true"}`)
	m.body = `{"command":`
	d.exchange(m.raw()).wantRefusal(t, 401, "Content-Digest is not that of the body")
	d.exchange(s.sign("POST", d.address, "/shell", `{"command":`).raw()).wantRefusal(t, 400, "not valid JSON")
}

// A key without a secret has no callbacks, as nothing could sign them; with one they are signed as
// ever.
func TestMessage_Callbacks(t *testing.T) {
	t.Parallel()
	s, both := newSigner(t), newSigner(t)
	d := startDaemon(t, append(s.lines("fleet"), both.lines("both", `SECRET = "`+deployKey+`"`)...)...)
	receiver := newReceiver(t, ok)
	body := jsonOf(fields{"command": "echo done", "callbackURL": receiver.URL})
	d.exchange(s.sign("POST", d.address, "/shell", body).raw()).wantRefusal(t, 400, "the key fleet has no SECRET")
	if a := d.exchange(both.sign("POST", d.address, "/shell", body).raw()); a.status != 200 {
		t.Fatalf("got %d %s, want 200", a.status, a.body)
	}
	receiver.await(d, 1)[0].wantSigned(t, deployKey)
	if n := strings.Count(d.log(), "echo done"); n != 1 {
		t.Errorf("got %d commands, want only that of the key with a secret", n)
	}
}

// Public keys change with a reload, both are in force during a rotation, and a removed one also
// ends what waits in the queue for it.
func TestReload_PublicKeys(t *testing.T) {
	t.Parallel()
	old, next := newSigner(t), newSigner(t)
	bounds := []string{"MAX_RUNNING = 1", "MAX_QUEUED = 5"}
	d := startDaemon(t, append(bounds, old.lines("fleet")...)...)
	quoted := strconv.Quote(testKey)
	runs := func(s signer, status int) {
		t.Helper()
		if a := d.exchange(s.sign("GET", d.address, "/jobs", "").raw()); a.status != status {
			t.Errorf("got %d %s, want %d", a.status, a.body, status)
		}
	}
	runs(old, 200)
	runs(next, 401)
	d.configure(quoted, append(bounds, "[KEY.fleet]", `PUBLIC_KEYS = ["`+next.public()+`", "`+old.public()+`"]`)...)
	d.wantReloaded()
	runs(old, 200)
	runs(next, 200)

	d.shell(fields{"command": "sleep 1000", "wait": false, "jobId": "blocker"})
	queued := old.sign("POST", d.address, "/shell", `{"command":"echo never","wait":false,"jobId":"queued"}`)
	if a := d.exchange(queued.raw()); a.status != 200 || !strings.Contains(a.body, `"queued"`) {
		t.Fatalf("got %d %s, want it in the queue", a.status, a.body)
	}
	kept := next.sign("POST", d.address, "/shell", `{"command":"echo kept","wait":false,"jobId":"kept"}`)
	if a := d.exchange(kept.raw()); a.status != 200 || !strings.Contains(a.body, `"queued"`) {
		t.Fatalf("got %d %s, want it in the queue", a.status, a.body)
	}
	d.configure(quoted, append(bounds, next.lines("fleet")...)...)
	d.wantReloaded()
	runs(old, 401)
	runs(next, 200)
	d.send(d.sign("DELETE", "/jobs/blocker", ""))
	show := func(id string) string { return d.send(d.sign("GET", "/jobs/fleet:"+id, "")).body }
	d.eventually("the queue is worked off", func() bool {
		return strings.Contains(show("kept"), "kept\\n") && !strings.Contains(show("queued"), `"state":"queued"`)
	})
	if body := show("queued"); !strings.Contains(body, "was removed meanwhile") {
		t.Errorf("got %s, want that the removal of the key ended it", body)
	}
	d.awaitLog("changed: KEY")
}

// A role that has no key at all in the configuration but public ones serves.
func TestMessage_WithoutAnySecret(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	d := newDaemon(t, `"replaced below"`)
	if err := os.WriteFile(d.config, []byte(strings.Join(s.lines("fleet"), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	if a := d.exchange(s.sign("GET", d.address, "/jobs", "").raw()); a.status != http.StatusOK {
		t.Errorf("got %d %s, want 200", a.status, a.body)
	}
	d.try200(fields{"command": "true"}).wantRefusal(t, 401, "does not match")
}

// The command line signs with a private key wherever it takes a secret: over TCP and over a Unix
// socket, and for curl.
func TestCommandLine_PrivateKey(t *testing.T) {
	t.Parallel()
	folder := sharedDir(t)
	file, socket := filepath.Join(folder, "fleet.pem"), filepath.Join(folder, "sidecar.sock")
	made := invoke(t, invocation{args: []string{"keys", "new", "--quiet", file}})
	d := newDaemon(t, strconv.Quote(testKey), "[KEY.fleet]", `PUBLIC_KEYS = "`+strings.TrimSpace(made.stdout)+`"`)
	d.address += "," + socket
	d.start()
	tcp, _, _ := strings.Cut(d.address, ",")
	private, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, i := range map[string]invocation{
		"file":           {args: []string{"--secret-key-file", file, "--url", "http://" + tcp}},
		"Unix socket":    {args: []string{"--secret-key-file", file, "--url", "unix:" + socket}},
		"standard input": {args: []string{"--secret-key-file", "-", "--url", "http://" + tcp}, stdin: string(private)},
		"environment":    {args: []string{"--url", "http://" + tcp}, env: keyVariable(string(private))},
	} {
		i.args = append([]string{"shell", "echo in"}, i.args...)
		if s := invoke(t, i); s.status != 0 || s.stdout != "in\n" {
			t.Errorf("%s: got %+v, want the output", name, s)
		}
	}
	signed := invoke(t, invocation{args: []string{"sign", "--secret-key-file", file, "http://" + tcp + "/shell", `{"command":"echo \"by curl\""}`}})
	for _, want := range []string{"by curl", "nonce was used before"} {
		curl := exec.Command("curl", "--config", "-")
		curl.Stdin = strings.NewReader(signed.stdout)
		if out, err := curl.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("curl: got %s, %v, want %q", out, err, want)
		}
	}
	body := private[28:60]
	if strings.Contains(d.log(), string(body)) {
		t.Error("the log shows the private key")
	}
}

// The headers of the document are those that are sent, with and without a body.
func TestOpenAPI_MessageHeaders(t *testing.T) {
	t.Parallel()
	a := openAPIDocument(t)
	for alternative, body := range map[string]string{"1": "", "2": "{}"} {
		var want []string
		for scheme := range a.object(below("#", "security", alternative)) {
			o := a.object(below("#/components/securitySchemes", scheme))
			want = append(want, o["name"].(string)+": "+o["x-pattern"].(string))
		}
		m := newSigner(t).sign("POST", "192.0.2.7:8099", "/shell", body)
		for _, header := range m.headers {
			name, value, _ := strings.Cut(header, ": ")
			if !slices.ContainsFunc(want, func(w string) bool {
				pattern, same := strings.CutPrefix(w, name+": ")
				return same && regexp.MustCompile(pattern).MatchString(value)
			}) {
				t.Errorf("body %q: got %s, want one of %q", body, header, want)
			}
		}
		if len(m.headers) != len(want) {
			t.Errorf("body %q: got %q, want %q", body, m.headers, want)
		}
	}
}
