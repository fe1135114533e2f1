package system

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// request is a request as a client sends it.
type request struct {
	method, path, nonce, timestamp, signature, body string
}

// mac computes the signature, written independently from docs/protocol.md.
func mac(key, method, path, nonce, timestamp, body string) string {
	h := hmac.New(sha1.New, []byte(key))
	_, _ = io.WriteString(h, strings.Join([]string{method, path, nonce, timestamp, body}, "\n"))
	return fmt.Sprintf("%X", h.Sum(nil))
}

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// sign returns a request that the daemon accepts once.
func (d *daemon) sign(method, path, body string) request {
	return d.signAt(method, path, body, strconv.FormatInt(time.Now().Unix(), 10))
}

func (d *daemon) signAt(method, path, body, timestamp string) request {
	r := request{method: method, path: path, nonce: newNonce(), timestamp: timestamp, body: body}
	r.signature = mac(d.key, method, path, r.nonce, timestamp, body)
	return r
}

// http returns r for Go's client.
func (r request) http(d *daemon) *http.Request {
	made, err := http.NewRequest(r.method, "http://"+d.address, strings.NewReader(r.body))
	if err != nil {
		d.t.Fatal(err)
	}
	made.URL.Opaque = r.path // sent unchanged
	made.Header.Set("X-Auth-Nonce", r.nonce)
	made.Header.Set("X-Auth-Timestamp", r.timestamp)
	made.Header.Set("X-Auth-Signature", r.signature)
	made.Header.Set("Content-Type", "application/json")
	return made
}

// raw returns r as bytes for a connection, with further header lines.
func (r request) raw(lines ...string) string {
	head := []string{
		r.method + " " + r.path + " HTTP/1.1", "Host: sidecar", "Content-Type: application/json",
		"X-Auth-Nonce: " + r.nonce, "X-Auth-Timestamp: " + r.timestamp, "X-Auth-Signature: " + r.signature,
	}
	if !strings.Contains(strings.Join(lines, "\n"), "Transfer-Encoding") {
		head = append(head, "Content-Length: "+strconv.Itoa(len(r.body)))
	}
	return strings.Join(append(head, lines...), "\r\n") + "\r\n\r\n" + r.body
}

// answer is the answer to a request.
type answer struct {
	status  int
	header  http.Header
	body    string
	OK      bool
	Message string
	Data    *struct {
		Stdout, Stderr                   string
		ExitCode                         *int
		Signal                           *string
		TimedOut                         bool
		DurationMS                       int64
		JobID                            string
		StdoutBytes, StderrBytes         int64
		StdoutTruncated, StderrTruncated bool
		StdoutBase64, StderrBase64       string
		StdoutTail, StderrTail           string
	}
}

func newAnswer(status int, header http.Header, body []byte) answer {
	a := answer{status: status, header: header, body: string(body)}
	_ = json.Unmarshal(body, &a) // without JSON the fields that the test checks are empty
	return a
}

// client keeps connections alive and never retries.
func newClient() *http.Client {
	return &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}
}

func (d *daemon) send(r request) answer {
	d.t.Helper()
	a, err := d.try(r)
	if err != nil {
		d.t.Errorf("no answer to %s %s: %v\n%.5000s", r.method, r.path, err, d.log())
	}
	return a
}

func (d *daemon) try(r request) (answer, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	return do(client, r.http(d))
}

func do(client *http.Client, r *http.Request) (answer, error) {
	response, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return newAnswer(response.StatusCode, response.Header, body), err
}

type fields map[string]any

// shell sends a signed command and fails the test if it is refused.
func (d *daemon) shell(f fields) answer {
	d.t.Helper()
	a := d.try200(f)
	if a.status != 200 || !a.OK || a.Data == nil {
		d.t.Fatalf("%v: got %d %.500s", f, a.status, a.body)
	}
	return a
}

// try200 is shell without this check.
func (d *daemon) try200(f fields) answer {
	d.t.Helper()
	return d.send(d.sign("POST", "/shell", jsonOf(f)))
}

func (d *daemon) run(command string) answer {
	d.t.Helper()
	return d.shell(fields{"command": command})
}

func jsonOf(v any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // maps of strings, numbers and lists always have a JSON form
	return strings.TrimSuffix(b.String(), "\n")
}

// wantRefusal checks the status, the envelope, and that the message contains hint.
func (a answer) wantRefusal(t testing.TB, status int, hint string) {
	t.Helper()
	var envelope map[string]any
	err := json.Unmarshal([]byte(a.body), &envelope)
	text, _ := envelope["message"].(string)
	data, hasData := envelope["data"]
	switch {
	case a.status != status:
		t.Errorf("got status %d, want %d: %.500s", a.status, status, a.body)
	case err != nil || len(envelope) != 3 || envelope["ok"] != false || text == "" || !hasData || data != nil:
		t.Errorf("%d without the error envelope: %.500q", status, a.body)
	case a.header.Get("Content-Type") != "application/json":
		t.Errorf("%d with Content-Type %q", status, a.header.Get("Content-Type"))
	case !strings.Contains(text, hint):
		t.Errorf("%d does not help with %q: %s", status, hint, text)
	}
}

// wantPlainRefusal checks the answer of net/http to a malformed request: a fixed text, and the end
// of the connection.
func (a answer) wantPlainRefusal(t testing.TB, status int) {
	t.Helper()
	switch {
	case a.status != status:
		t.Errorf("got status %d, want %d: %.500s", a.status, status, a.body)
	case !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || a.header.Get("Content-Length") != "":
		// Without a length, the body ends with the connection.
		t.Errorf("got %d with the headers %v, want text/plain up to the end of the connection", status, a.header)
	case len(a.body) > 100 || strings.ContainsAny(a.body, "<>{}\r\n"):
		t.Errorf("got %d with %.500q, want one short line", status, a.body)
	}
}

func decodeBase64(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
