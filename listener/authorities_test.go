package listener

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/privsep/message"
)

// posterTrusting reads these files in place of the host's.
func posterTrusting(t *testing.T, files ...string) *poster {
	t.Helper()
	ours, executors := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), executors.Close() })
	go func() { _, _ = io.Copy(io.Discard, executors) }()
	role := NewRole(message.NewConn(ours, message.FromExecutor()), "", nil)
	p := newPoster(role, usualLimits().CallbackTimeout)
	p.authorities.files = files
	return p
}

func (p *poster) try(url string) message.Outcome {
	body := newInbox()
	body.put(message.Frame{Last: true, Payload: []byte("{}")})
	return p.attempt(context.Background(), 1, message.Callback{URL: url, Length: 2}, body)
}

func tlsReceiver(t *testing.T) (url string, certificate []byte) {
	t.Helper()
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter,
		*http.Request) {
	}))
	receiver.Config.ErrorLog = log.New(io.Discard, "", 0)
	receiver.StartTLS()
	t.Cleanup(receiver.Close)
	return receiver.URL, pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw,
	})
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace is what update-ca-certificates does.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Each step is followed by one attempt, which must not use a connection of the step before.
func TestAuthorities_NextAttempt(t *testing.T) {
	url, trusted := tlsReceiver(t)
	other := identity(t).Certificate
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.pem"), filepath.Join(dir, "second.pem")
	p := posterTrusting(t, first, second)
	for _, step := range []struct {
		name   string
		change func()
		want   string // of the error, "" for an answer
	}{
		{"none at all", func() {}, "install its package ca-certificates"},
		{"another one", func() { write(t, first, other) }, "unknown authority"},
		{"added", func() { replace(t, first, append(append([]byte{}, other...), trusted...)) }, ""},
		{"unchanged", func() {}, ""},
		{"withdrawn", func() { replace(t, first, other) }, "unknown authority"},
		{"rewritten in place", func() { write(t, first, trusted) }, ""},
		{"emptied", func() { write(t, first, nil) }, "holds no certificate"},
		{"in the second file", func() { _ = os.Remove(first); write(t, second, trusted) }, ""},
		{"a FIFO before it", func() { _ = syscall.Mkfifo(first, 0o600) }, ""},
		{"the FIFO alone", func() { _ = os.Remove(second) }, "not a regular file"},
		{"too large", func() {
			_ = os.Remove(first)
			write(t, first, make([]byte, maxAuthorities+1))
		}, "more than 8 MiB"},
		{"well again", func() { write(t, first, trusted) }, ""},
	} {
		step.change()
		outcome := p.try(url)
		if step.want == "" && outcome.Status != 200 || step.want != "" &&
			!strings.Contains(outcome.Error, step.want) {
			t.Errorf("%s: got %+v, want %q", step.name, outcome, step.want)
		}
	}
}

// Without a change, the files are not read again and connections are kept.
func TestAuthorities_ReadOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundle.pem")
	write(t, path, identity(t).Certificate)
	p := posterTrusting(t, path)
	first, err := p.clientFor("https")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.clientFor("https"); again != first || err != nil {
		t.Errorf("got another client, error %v; want the same one", err)
	}
}

func TestAuthorities_PlainHTTP(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	if outcome := posterTrusting(t).try(receiver.URL); outcome.Status != 200 {
		t.Errorf("got %+v, want status 200", outcome)
	}
}
