package system

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/test/testkit"
)

// hostile clears a screen, sets a title, reverses text, and begins a line that looks like ours.
const hostile = "\x1b[2J\x1b]0;t\a\u0085\u009b2J\x7f\u202e\u2028\r\nerror: forged\nhint: forged"

// quotedHostile is the same in a string of JSON, which escapes only what it must.
func quotedHostile() string {
	return `"` + strings.NewReplacer("\x1b", `\u001b`, "\a", `\u0007`, "\r", `\r`, "\n", `\n`).Replace(hostile) + `"`
}

// againstServer runs the command line and returns its output.
func againstServer(t *testing.T, status int, url string, args ...string) string {
	t.Helper()
	t.Setenv("SIDECAR_SECRET_KEY", "a-key-for-tests-only")
	got, stdout, stderr := testkit.Run(t, "", append(args, "--url", url)...)
	if got != status {
		t.Errorf("%q: status %d, want %d\n%q", args, got, status, stderr)
	}
	return stdout + stderr
}

// wantVisible fails on control characters, and on lines that another program began.
func wantVisible(t *testing.T, what, text string) {
	t.Helper()
	for _, c := range "\x1b\a\u0085\u009b\x7f\u202e\u2028\r" {
		if strings.ContainsRune(text, c) {
			t.Errorf("%s: %U in %q", what, c, text)
		}
	}
	if !utf8.ValidString(text) || strings.Contains(text, "\nerror: forged") || strings.Contains(text, "\nhint: forged") {
		t.Errorf("%s: got %q", what, text)
	}
}

func jsonServer(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHostileServer_EachFieldOfAJob(t *testing.T) {
	text := quotedHostile()
	job := func(field string) string {
		facts := map[string]string{"jobId": `"a"`, "state": `"running"`, "command": `"true"`, "acceptedAt": `"2026-01-01T00:00:00Z"`}
		if field != "" {
			facts[field] = text
		}
		var pairs []string
		for name, value := range facts {
			pairs = append(pairs, fmt.Sprintf("%q:%s", name, value))
		}
		return "{" + strings.Join(pairs, ",") + "}"
	}
	for _, field := range []string{"jobId", "state", "command", "key", "action", "signal", "ended", "failure"} {
		one := jsonServer(t, 200, `{"ok":true,"message":"","data":`+job(field)+`}`)
		list := jsonServer(t, 200, `{"ok":true,"message":"","data":{"jobs":[`+job(field)+`]}}`)
		wantVisible(t, field+" in jobs ID", againstServer(t, 0, one, "jobs", "a"))
		wantVisible(t, field+" in jobs ID --json", againstServer(t, 0, one, "jobs", "--json", "a"))
		listed := againstServer(t, 0, list, "jobs")
		wantVisible(t, field+" in jobs", listed)
		if strings.Count(listed, "\n") != 2 {
			t.Errorf("%s: the table has other rows: %q", field, listed)
		}
		wantVisible(t, field+" in shell --no-wait", againstServer(t, 0, one, "shell", "--no-wait", "true"))
		wantVisible(t, field+" in cancel", againstServer(t, 0, one, "cancel", "a"))
		wantVisible(t, field+" in cancel --json", againstServer(t, 0, one, "cancel", "--json", "a"))
		if field != "signal" {
			wantVisible(t, field+" in shell", againstServer(t, 125, one, "shell", "true"))
		}
	}
	signal := jsonServer(t, 200, `{"ok":true,"data":{"jobId":"a","state":"ended","signal":`+text+`}}`)
	wantVisible(t, "signal in shell", againstServer(t, 128, signal, "shell", "true"))
	ended := jsonServer(t, 200, `{"ok":true,"data":{"jobId":"a","state":"ended","signal":`+text+`,"ended":`+text+`}}`)
	wantVisible(t, "an ended job in cancel", againstServer(t, 0, ended, "cancel", "a"))
}

func TestHostileServer_Actions(t *testing.T) {
	text := quotedHostile()
	data := `{"key":` + text + `,"anyCommand":true,"expiresAt":"2026-01-01T00:00:00Z","actions":[{"name":` + text +
		`,"description":` + text + `,"envs":{` + text + `:{"pattern":` + text + `,"required":true}},"timeout":1,"oneAtATime":` + text + `}]}`
	url := jsonServer(t, 200, `{"ok":true,"message":"","data":`+data+`}`)
	for _, args := range [][]string{{"actions"}, {"actions", "--json"}, {"actions", "--quiet"}} {
		wantVisible(t, strings.Join(args, " "), againstServer(t, 0, url, args...))
	}
	wantVisible(t, "run", againstServer(t, 125, url, "run"))
	labels := jsonServer(t, 200, `{"ok":true,"data":{"jobId":"a","state":"ended","labels":{`+text+`:`+text+`}}}`)
	wantVisible(t, "labels", againstServer(t, 0, labels, "jobs", "a"))
}

// `shell` copies the output of a command unchanged.
func TestHostileServer_OutputStaysRaw(t *testing.T) {
	answer := jsonServer(t, 200, `{"ok":true,"message":`+quotedHostile()+`,"data":{"stdout":"\u001b[1mbold","stderr":"","exitCode":0}}`)
	shown := againstServer(t, 0, answer, "shell", "true")
	if !strings.HasPrefix(shown, "\x1b[1mbold") {
		t.Errorf("got %q", shown)
	}
	wantVisible(t, "message", strings.TrimPrefix(shown, "\x1b[1mbold"))
	var data struct{ Stdout string }
	asJSON := againstServer(t, 0, answer, "shell", "--json", "true")
	wantVisible(t, "message with --json", asJSON)
	if json.NewDecoder(strings.NewReader(asJSON)).Decode(&data) != nil || data.Stdout != "\x1b[1mbold" {
		t.Errorf("got %q", asJSON)
	}
}

func TestHostileServer_Refusals(t *testing.T) {
	envelope := `{"ok":false,"message":` + quotedHostile() + `,"data":null}`
	for _, status := range []int{400, 401, 404, 409, 500, 502, 503, 504} {
		url := jsonServer(t, status, envelope)
		wantVisible(t, fmt.Sprint(status), againstServer(t, 125, url, "shell", "true")+againstServer(t, 1, url, "jobs")+againstServer(t, 1, url, "cancel", "a"))
		proxy := jsonServer(t, status, "<html>"+hostile+"</html>")
		wantVisible(t, fmt.Sprint("a proxy's ", status), againstServer(t, 125, proxy, "shell", "true")+againstServer(t, 1, proxy, "jobs"))
	}
	wantVisible(t, "no JSON", againstServer(t, 1, jsonServer(t, 200, hostile), "jobs"))
	welcome := "Welcome to DataFlux Func Sidecar\n* Version: 1" + strings.ReplaceAll(hostile, "\n", "") + "\n"
	wantVisible(t, "version", againstServer(t, 0, jsonServer(t, 200, welcome), "version"))
	wantVisible(t, "version --json", againstServer(t, 0, jsonServer(t, 200, welcome), "version", "--json"))
}

// rawServer answers each connection with bytes that no HTTP library would send.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 1<<16))
			_, _ = connection.Write([]byte(answer))
			_ = connection.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestHostileServer_BrokenAnswers(t *testing.T) {
	line := strings.NewReplacer("\r", "", "\n", "").Replace(hostile)
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	for what, answer := range map[string]string{
		"the status line":   "HTTP/1.1 200 " + line + "\r\nContent-Length: 0\r\n\r\n",
		"the reason":        "HTTP/1.1 404 " + line + "\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":           hostile,
		"a header":          "HTTP/1.1 200 OK\r\n" + line + "\r\n\r\n",
		"an encoding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + line + "\r\n\r\n",
		"a length":          "HTTP/1.1 200 OK\r\nContent-Length: " + line + "\r\n\r\n",
		"an escape":         head + `{"data":{"stdout":"\` + hostile,
		"a hex escape":      head + `{"data":{"stdout":"\u` + hostile,
		"between keys":      head + "{" + hostile,
		"a wrong number":    head + `{"data":{"exitCode":` + quotedHostile() + `}}`,
		"a wrong time":      head + `{"data":{"acceptedAt":` + quotedHostile() + `}}`,
		"wrong base64":      head + `{"data":{"stdoutBase64":` + quotedHostile() + `}}`,
		"a wrong redirect":  "HTTP/1.1 307 x\r\nLocation: http://" + line + "/\r\nContent-Length: 0\r\n\r\n",
		"a wrong key":       head + `{` + quotedHostile() + ` 1}`,
		"a wrong retry":     "HTTP/1.1 503 x\r\nRetry-After: " + line + "\r\nContent-Length: 30\r\n\r\n" + `{"ok":false,"message":"busy" }`,
		"an endless number": "HTTP/1.1 200 OK\r\n\r\n" + `{"data":{"exitCode":` + strings.Repeat("1", 5<<20) + `}}`,
	} {
		url := rawServer(t, answer)
		wantVisible(t, what, againstServer(t, 125, url, "shell", "true")+againstServer(t, 1, url, "jobs", "a")+againstServer(t, 1, url, "version"))
	}
}

// The error of a certificate for other names lists those names.
func TestHostileServer_NamesOfItsCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostile}, DNSNames: []string{"\x1b[2J\a\x7fa.example"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	wantVisible(t, "an unknown authority", againstServer(t, 1, server.URL, "version"))
	wantVisible(t, "other names", againstServer(t, 1, server.URL, "version", "--ca", authority))
}
