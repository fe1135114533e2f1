package listener

import (
	"context"
	"net/http"
	"slices"
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
	defer h.streams.close(id, true)
	head, err := wholeAnswer(answer)
	if err != nil {
		return message.Head{}, unreachable()
	}
	return head, nil
}

// wholeAnswer returns an answer with its whole body, which is within message.Window. It has no
// caller's context: the executor counts a scrape until it has answered.
func wholeAnswer(answer *inbox) (message.Head, error) {
	f, err := answer.next(context.Background())
	if err != nil {
		return message.Head{}, err
	}
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		return head, err
	}
	body := slices.Clone(head.Body)
	for !f.Last {
		if f, err = answer.next(context.Background()); err != nil {
			return head, err
		}
		body = append(body, f.Payload...)
	}
	head.Body, head.Length = body, int64(len(body))
	return head, nil
}
