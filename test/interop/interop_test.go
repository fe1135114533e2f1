package interop

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yaronf/httpsign"

	"dataflux-func-sidecar/sign"
)

const (
	program  = "dataflux-func-sidecar"
	patience = 2 * time.Minute
)

var withBody = httpsign.Headers("@method", "@authority", "@path", "@query", "content-digest")

func newKey(t *testing.T) (ed25519.PrivateKey, ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// startDaemon runs the program of these sources, and returns its address.
func startDaemon(t *testing.T, public ed25519.PublicKey) string {
	t.Helper()
	// Not t.TempDir, as the user of the daemon's role executes the program there.
	dir, err := os.MkdirTemp("", "sidecar-interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, config := filepath.Join(dir, program), filepath.Join(dir, "config")
	build := exec.Command("go", "build", "-C", "../..", "-trimpath", "-o", path, "./cmd/"+program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := fmt.Sprintf("[KEY.fleet]\nPUBLIC_KEYS = %q\n", sign.KeyID(public))
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path, "serve", "--config", config, "--state-dir", filepath.Join(dir, "state")}
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody", "--role-user", "daemon")
	}
	var log bytes.Buffer
	daemon := exec.Command("/bin/sh", args...)
	daemon.Dir, daemon.ExtraFiles, daemon.Stderr = "/", []*os.File{socket}, &log
	daemon.Env = []string{"LISTEN_FDS=1", "PATH=/usr/bin:/bin"}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		if err := daemon.Wait(); err != nil || t.Failed() {
			t.Errorf("the daemon: %v\n%s", err, log.String())
		}
	})
	return listener.Addr().String() // connections wait in the backlog until it accepts
}

// signed is a request that the other implementation has signed.
func signed(t *testing.T, key ed25519.PrivateKey, config *httpsign.SignConfig, method, url, body, digest string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	fields := httpsign.Headers("@method", "@authority", "@path", "@query")
	if body != "" {
		fields = withBody
		r.Header.Set("Content-Type", "application/json")
		value, err := httpsign.GenerateContentDigestHeader(&r.Body, []string{digest})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Digest", value)
	}
	signer, err := httpsign.NewEd25519Signer(key, config.SetKeyID(sign.KeyID(key.Public().(ed25519.PublicKey))), fields)
	if err != nil {
		t.Fatal(err)
	}
	input, signature, err := httpsign.SignRequest("sig1", *signer, r)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Signature-Input", input)
	r.Header.Set("Signature", signature)
	return r
}

// What the other implementation signs is accepted, once, and its output is that of the command.
func TestInterop_SignedByTheOther(t *testing.T) {
	private, public := newKey(t)
	stranger, _ := newKey(t)
	base := "http://" + startDaemon(t, public)
	client := &http.Client{Timeout: patience}
	config := func(nonce string) *httpsign.SignConfig { return httpsign.NewSignConfig().SetNonce(nonce) }
	const run = `{"command":"echo signed"}`
	for name, c := range map[string]struct {
		key                        ed25519.PrivateKey
		config                     *httpsign.SignConfig
		method, path, body, digest string
		status                     int
		says                       string
	}{
		"sha-256":      {private, config("nonce-sha-256"), "POST", "/shell", run, httpsign.DigestSha256, 200, `"stdout":"signed\n"`},
		"sha-512":      {private, config("nonce-sha-512"), "POST", "/shell", run, httpsign.DigestSha512, 200, `"stdout":"signed\n"`},
		"expires":      {private, config("nonce-expires").SetExpires(time.Now().Add(patience).Unix()), "POST", "/shell", run, httpsign.DigestSha256, 200, "signed"},
		"without alg":  {private, config("nonce-no-alg").SignAlg(false), "POST", "/shell", run, httpsign.DigestSha256, 200, "signed"},
		"without body": {private, config("nonce-no-body"), "GET", "/actions", "", "", 200, `"key":"fleet"`},
		"with a tag":   {private, config("nonce-tag").SetTag("a"), "GET", "/jobs", "", "", 401, "the parameters of Signature-Input are"},
		"no nonce":     {private, httpsign.NewSignConfig(), "GET", "/jobs", "", "", 401, "lacks the parameter nonce"},
		"expired":      {private, config("nonce-expired").SetExpires(1), "GET", "/jobs", "", "", 401, "has expired"},
		"stranger":     {stranger, config("nonce-stranger"), "GET", "/jobs", "", "", 401, "does not match"},
	} {
		r := signed(t, c.key, c.config, c.method, base+c.path, c.body, c.digest)
		status, text := send(t, client, r)
		if status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: got %d %s, want %d and %s", name, status, text, c.status, c.says)
		}
		if c.status != 200 {
			continue
		}
		again := r.Clone(t.Context())
		again.Body = io.NopCloser(strings.NewReader(c.body))
		if status, text := send(t, client, again); status != 401 || !strings.Contains(text, "nonce was used before") {
			t.Errorf("%s, sent again: got %d %s, want 401", name, status, text)
		}
	}
}

func send(t *testing.T, client *http.Client, r *http.Request) (status int, text string) {
	t.Helper()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !json.Valid(body) {
		t.Fatalf("got %q, %v, want JSON", body, err)
	}
	return answer.StatusCode, string(body)
}

// The other implementation verifies what we sign, and finds each change.
func TestInterop_VerifiedByTheOther(t *testing.T) {
	private, public := newKey(t)
	verifier, err := httpsign.NewEd25519Verifier(public, httpsign.NewVerifyConfig().SetKeyID(sign.KeyID(public)), withBody)
	if err != nil {
		t.Fatal(err)
	}
	ours := func(change func(*http.Request)) error {
		body := `{"command":"hostname"}`
		m := sign.Message{Method: "POST", Authority: "web1.example.com:8099", Path: "/jobs/deploy:a%20b", Body: []byte(body)}
		sign.SignMessage(private, &m, time.Now(), "4a3396655598402bb572df631e6bea36")
		r, err := http.NewRequest(m.Method, "http://"+m.Authority+m.Path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Signature-Input": m.Input, "Signature": m.Signature, "Content-Digest": m.Digest} {
			r.Header.Set(name, value)
		}
		change(r)
		if err := httpsign.VerifyRequest("sidecar", *verifier, r); err != nil {
			return err
		}
		return httpsign.ValidateContentDigestHeader(r.Header.Values("Content-Digest"), &r.Body, []string{httpsign.DigestSha256})
	}
	if err := ours(func(*http.Request) {}); err != nil {
		t.Errorf("got %v, want our signature to hold", err)
	}
	for name, change := range map[string]func(*http.Request){
		"method": func(r *http.Request) { r.Method = "GET" },
		"host":   func(r *http.Request) { r.Host, r.URL.Host = "web2.example.com:8099", "web2.example.com:8099" },
		"path":   func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/jobs/deploy:b", "" },
		"query":  func(r *http.Request) { r.URL.RawQuery = "a=b" },
		"digest": func(r *http.Request) { r.Header.Set("Content-Digest", "sha-256=:"+strings.Repeat("A", 43)+"=:") },
		"body":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"command":"id"}`)) },
	} {
		if err := ours(change); err == nil {
			t.Errorf("another %s: got no error, want one", name)
		}
	}
}
