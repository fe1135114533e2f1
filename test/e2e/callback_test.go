package e2e

import (
	"io"
	"net/http"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Func listens on docker0, and its address must be reachable from the sandboxed role.
func TestCallback_FuncOnDocker0(t *testing.T) { // case 46
	m := installed(t)
	m.addDocker0()
	receiver, err := m.listen("172.17.0.1:8088")
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 8)
	server := &http.Server{ReadHeaderTimeout: testkit.Patience, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- r.Method + " " + r.URL.Path + " " + string(body)
	})}
	go func() { _ = server.Serve(receiver) }()
	defer func() { _ = server.Close() }()

	for _, wait := range []bool{true, false} {
		m.client("172.17.0.1:8099").answer(t, map[string]any{
			"command": "echo out; echo err >&2", "wait": wait,
			"callbackURL": "http://172.17.0.1:8088/api/v1/al/auln-sidecar-callback",
		})
		const want = `POST /api/v1/al/auln-sidecar-callback {"kwargs":{"stdout":"out\n","stderr":"err\n"}}`
		select {
		case got := <-received:
			if got != want {
				t.Errorf("wait %v: received %s\nwant %s", wait, got, want)
			}
		case <-time.After(testkit.Patience):
			t.Errorf("wait %v: no callback", wait)
		}
	}
}
