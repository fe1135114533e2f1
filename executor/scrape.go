package executor

import (
	"fmt"

	"dataflux-func-sidecar/metrics"
	"dataflux-func-sidecar/privsep/message"
)

// takeScrape answers with the metrics, if a socket for them was handed over.
func (s *Session) takeScrape(id uint64) error {
	if s.executor.limits.MetricsSockets == 0 {
		return fmt.Errorf("%w: a Scrape, and there is no socket for metrics", message.ErrProtocol)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scrapes >= message.MaxScrapes {
		return fmt.Errorf("%w: more than %d scrapes at once", message.ErrProtocol, message.MaxScrapes)
	}
	st, err := s.begin(id)
	if err != nil {
		return err
	}
	s.scrapes++
	go s.answerScrape(st)
	return nil
}

func (s *Session) answerScrape(st *stream) {
	page := s.executor.page()
	s.mu.Lock()
	s.scrapes-- // before the answer is sent, which makes room for the next one
	s.mu.Unlock()
	w := answerTo(st, message.Head{Status: statusOK, ContentType: metrics.ContentType})
	_, _ = w.Write(page)
	_ = w.Close()
}

// page is all that is told of this process. What is counted is counted from its start on, and nothing here
// comes from what a caller chose. docs/operations.md has the same names and texts; a test compares them.
func (e *Executor) page() []byte {
	const prefix = "dataflux_func_sidecar_"
	var p metrics.Page
	t := e.tally
	running, queued, _, pending := e.Counts()
	p.Info(prefix+"build_info", "The version of the program.", "version", t.version)
	p.Gauge(prefix+"start_time_seconds", "When the executor started, in seconds since 1970.", float64(t.started.UnixMilli())/1e3)
	p.Counters(prefix+"requests_total", "Requests on the addresses of BIND by the HTTP status of their answers; none: the caller had gone before.", t.requests)
	p.Gauge(prefix+"commands_running", "Commands that run or are about to start.", float64(running))
	p.Gauge(prefix+"commands_queued", "Commands that wait for their turn.", float64(queued))
	p.Counters(prefix+"commands_total", "Commands that have ended; succeeded: by themselves, with exit status 0.", t.commands)
	p.Histogram(prefix+"command_duration_seconds", "How long commands ran that have ended, without their time in the queue.", t.durations)
	p.Counters(prefix+"output_bytes_total", "Bytes that commands had written when they ended.", t.output)
	p.Counters(prefix+"output_cut_bytes_total", "Bytes of these that were dropped, as they were above MAX_OUTPUT.", t.cut)
	p.Gauge(prefix+"callbacks_pending", "Callbacks that are owed, those of running commands included.", float64(pending))
	p.Counters(prefix+"callbacks_total", "Callbacks that are settled; lost: after CALLBACK_EXPIRY, or damaged on disk.", t.callbacks)
	p.Counter(prefix+"callback_failures_total", "Attempts to deliver a callback that failed.", &t.callbackFailures)
	p.Gauge(prefix+"nonces", "Nonces and job ids that are remembered against replays.", float64(e.verifier.Remembered()))
	p.Counter(prefix+"network_role_starts_total", "Starts of the network role, the first one included.", &t.roleStarts)
	return p.Bytes()
}
