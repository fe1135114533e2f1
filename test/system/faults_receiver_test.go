package system

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mood is the behaviour of a receiver.
type mood int32

const (
	takes    mood = iota
	fails         // answers 500
	dawdles       // is slow, then accepts
	breaks        // disconnects after reading everything
	raises        // answers 599, as Func does after a function that failed
	forbids       // answers 401, as Func does without authentication
	unknown       // answers 404, as Func does for an id that it does not have
	small         // answers 413 to large bodies, as nginx does, and accepts others
	moodKind      // the number of moods
)

// maxSmall is the size of a body, in bytes, that a small receiver accepts: more than a shortened one.
const maxSmall = 100 << 10

// answer returns the status of the answer to a body of this length.
func (m mood) answer(length int) int {
	switch {
	case m == fails:
		return http.StatusInternalServerError
	case m == raises:
		return 599
	case m == forbids:
		return http.StatusUnauthorized
	case m == unknown:
		return http.StatusNotFound
	case m == small && length > maxSmall:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusOK
}

// faultyReceiver receives callbacks for a model. It can be down, and change its behaviour.
type faultyReceiver struct {
	m       *model
	address string
	key     string
	mood    atomic.Int32

	mu     sync.Mutex
	server *http.Server // nil while it is down
}

func newFaultyReceiver(m *model, address, key string) *faultyReceiver {
	v := &faultyReceiver{m: m, address: address, key: key}
	v.up()
	m.t.Cleanup(v.down)
	return v
}

func (v *faultyReceiver) url() string { return "http://" + v.address + "/cb" }

// up starts the receiver, unless it is up.
func (v *faultyReceiver) up() {
	v.m.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.server != nil {
		return
	}
	l, err := net.Listen("tcp", v.address)
	if err != nil {
		v.m.t.Fatal(err)
	}
	v.server = &http.Server{Handler: v}
	go func(s *http.Server) { _ = s.Serve(l) }(v.server)
}

// down ends the receiver at once, also during an answer.
func (v *faultyReceiver) down() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.server != nil {
		_ = v.server.Close()
		v.server = nil
	}
}

func (v *faultyReceiver) be(m mood) { v.mood.Store(int32(m)) }

// ServeHTTP records a callback, even if its answer is lost.
func (v *faultyReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off: does not count as received
	}
	token := strings.TrimPrefix(r.URL.Path, "/cb/")
	h := r.Header
	if h.Get("X-Auth-Signature") != mac(v.key, "POST", r.URL.EscapedPath(), h.Get("X-Auth-Nonce"), h.Get("X-Auth-Timestamp"), string(body)) {
		v.m.t.Errorf("the callback for %s is not signed", token)
	}
	now := mood(v.mood.Load())
	if now == dawdles {
		time.Sleep(300 * time.Millisecond)
	}
	if now == breaks {
		v.m.arrived(token, newArrival(r, body, 0))
		panic(http.ErrAbortHandler)
	}
	status := now.answer(len(body))
	v.m.arrived(token, newArrival(r, body, status))
	w.WriteHeader(status)
}
