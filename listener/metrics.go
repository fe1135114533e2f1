package listener

import (
	"context"
	"net/http"
	"strings"

	"dataflux-func-sidecar/privsep/message"
)

// maxScrapers bounds the connections to the sockets for metrics. They have a limit of their own, so
// that callers and scrapers cannot keep each other out.
const maxScrapers = 32

// newMetricsServer serves GET /metrics and nothing else: no command is accepted there.
func newMetricsServer(role *Role) *server {
	h := &metricsHandler{
		streams: role.streams, timeouts: role.timeouts,
		scrapes: make(chan struct{}, message.MaxScrapes),
	}
	s := newServer(role, h, maxScrapers)
	s.timeouts.drainHandling = s.timeouts.drainReading // no page is worth a longer wait
	return s
}

// metricsHandler does not report its refusals to the executor: they refuse no command.
type metricsHandler struct {
	streams  *streams
	timeouts timeouts
	scrapes  chan struct{} // holds a token for each scrape under way
}

func (h *metricsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	advance(r, reading, handling)
	setDeadlines(w, h.timeouts)
	head, why := message.Head{}, checkScrape(r)
	if why == nil {
		head, why = h.scrape(r.Context())
	}
	if why != nil {
		sendRefusal(w, r, why, h.timeouts.discard)
		return
	}
	writeHead(w, head)
	_, _ = w.Write(head.Body)
}

func checkScrape(r *http.Request) *refusal {
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path != "/metrics" {
		return &refusal{
			status: http.StatusNotFound,
			message: "there is nothing at this path: " +
				"the metrics are at /metrics, and commands go to an address of BIND",
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &refusal{
			status: http.StatusMethodNotAllowed, allow: "GET, HEAD",
			message: "only GET is allowed here",
		}
	}
	return nil
}

// scrape returns the whole page before anything of it is written: a slow reader delays no other
// scrape.
func (h *metricsHandler) scrape(caller context.Context) (message.Head, *refusal) {
	select {
	case h.scrapes <- struct{}{}:
		defer func() { <-h.scrapes }()
	case <-caller.Done():
		return message.Head{}, unreachable()
	}
	id, answer, err := h.streams.open(message.Scrape, nil)
	if err != nil {
		return message.Head{}, unreachable()
	}
	// Not the caller's context: the executor counts this scrape until it has answered.
	f, _ := answer.next(context.Background())
	h.streams.close(id, true)
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		return head, unreachable()
	}
	return head, nil
}
