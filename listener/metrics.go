package listener

import (
	"context"
	"net/http"
	"strings"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// mostScrapers bounds the connections to the sockets for metrics. They are counted by themselves, so that
// neither callers nor scrapers can keep the others out.
const mostScrapers = 32

// newMetricsServer serves GET /metrics and nothing else. Commands are not to be had there.
func newMetricsServer(role *Role) *server {
	s := newServer(role, &scraping{role: role, places: make(chan struct{}, message.MaxScrapes)}, mostScrapers)
	s.patience = unheardTimeout // a page that nobody reads is no loss
	return s
}

// scraping is the handler of the sockets for metrics. What it refuses is no request for a command, so the
// executor does not hear of it.
type scraping struct {
	role   *Role
	places chan struct{}
}

func (s *scraping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noteHandled(r)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // net/http reads a body that no handler wants
	why := misdirected(r)
	var head message.Head
	if why == nil {
		head, why = s.page(r.Context())
	}
	if why != nil {
		sendRefusal(w, r, why)
		return
	}
	writeHead(w, head)
	_, _ = w.Write(head.Body)
}

func misdirected(r *http.Request) *refusal {
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path != "/metrics" {
		return &refusal{status: http.StatusNotFound, message: "there is nothing at this path: the metrics are at /metrics, and commands go to an address of BIND"}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &refusal{status: http.StatusMethodNotAllowed, message: "only GET is allowed here", allow: "GET, HEAD"}
	}
	return nil
}

// page has the whole page before anything of it is written, so that a slow reader keeps nobody waiting.
func (s *scraping) page(caller context.Context) (message.Head, *refusal) {
	unavailable := &refusal{status: http.StatusServiceUnavailable, message: "the executor cannot be reached: try again", retryAfter: "1"}
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-caller.Done():
		return message.Head{}, unavailable
	}
	id, answer, err := s.role.ask(message.Scrape, nil)
	if err != nil {
		return message.Head{}, unavailable
	}
	// Whether or not the caller still waits: the place is free when the executor has answered, not before.
	f, _ := answer.take(context.Background())
	s.role.release(id, true)
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		return head, unavailable
	}
	return head, nil
}
