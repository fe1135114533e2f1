package packaging

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mirror serves the release folder, with the changes of a test.
type mirror struct {
	dir string
	odd map[string]http.HandlerFunc // answers that replace files
}

func (m mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answer := m.odd[strings.TrimPrefix(r.URL.Path, "/")]; answer != nil {
		answer(w, r)
		return
	}
	http.FileServer(http.Dir(m.dir)).ServeHTTP(w, r)
}

// newMirror serves the release over http until the test ends, with the odd answers for some files.
func newMirror(t *testing.T, odd map[string]http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(mirror{releaseFolder(t), odd})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func text(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(content)) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>sorry</html>", code) }
}

// cut announces more bytes than it sends.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000000")
	_, _ = w.Write([]byte("the first bytes"))
}

// cutUnseen closes without having announced a length.
func cutUnseen(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Transfer-Encoding", "identity")
	_, _ = w.Write([]byte("the first bytes"))
}

func endless(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, 1<<16)
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// hang sends the headers and one byte, and then nothing until the client disconnects.
func hang(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("x"))
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// listWith returns the release's list of checksums with a change.
func listWith(t *testing.T, change func(list string) string) http.HandlerFunc {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(releaseFolder(t), "sha256sums"))
	if err != nil {
		t.Fatal(err)
	}
	changed := change(string(list))
	if changed == string(list) {
		t.Fatal("the list was not changed")
	}
	return text(changed)
}
