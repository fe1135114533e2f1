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
	moodKind      // the number of moods
)

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
	v.m.arrived(token, arrival{
		at: time.Now(), jobID: h.Get("X-Sidecar-Job-Id"), state: h.Get("X-Sidecar-State"), body: string(body), confirmed: now == takes || now == dawdles || now == raises,
	})
	switch now {
	case fails:
		w.WriteHeader(http.StatusInternalServerError)
	case raises:
		w.WriteHeader(599)
	case breaks:
		panic(http.ErrAbortHandler)
	}
}
