package main_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mood is how a receiver treats callbacks.
type mood int32

const (
	takes    mood = iota
	fails         // with 500
	dawdles       // and takes it
	breaks        // off after it has read everything
	moodKind      // how many there are
)

// faultyReceiver takes callbacks for a model. It can be down, and change its mood.
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

// up does nothing if it is up already.
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

// down ends it in the middle of whatever it does.
func (v *faultyReceiver) down() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.server != nil {
		_ = v.server.Close()
		v.server = nil
	}
}

func (v *faultyReceiver) be(m mood) { v.mood.Store(int32(m)) }

// ServeHTTP records a callback, whatever becomes of its answer.
func (v *faultyReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off on the way: it did not come
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
		at: time.Now(), jobID: h.Get("X-Sidecar-Job-Id"), state: h.Get("X-Sidecar-State"), body: string(body), confirmed: now == takes || now == dawdles,
	})
	switch now {
	case fails:
		w.WriteHeader(http.StatusInternalServerError)
	case breaks:
		panic(http.ErrAbortHandler)
	}
}
