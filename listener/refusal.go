package listener

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// refusal is an answer that needs no executor.
type refusal struct {
	status     int
	message    string
	allow      string
	retryAfter string
}

func unreachable() *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, retryAfter: "1",
		message: "the executor cannot be reached: try again",
	}
}

// envelope returns the protocol's JSON for an error.
func envelope(text string) []byte {
	quoted, _ := json.Marshal(text) // a string always has a JSON form
	return append(append([]byte(`{"ok":false,"message":`), quoted...), `,"data":null}`...)
}

// sendRefusal answers, and closes the connection. It first discards the body for at most the given
// time.
func sendRefusal(w http.ResponseWriter, r *http.Request, why *refusal, discard time.Duration) {
	discardBody(w, r, discard)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Connection", "close")
	if why.allow != "" {
		header.Set("Allow", why.allow)
	}
	if why.retryAfter != "" {
		header.Set("Retry-After", why.retryAfter)
	}
	setChallenge(header, why.status)
	w.WriteHeader(why.status)
	_, _ = w.Write(envelope(why.message))
}

// discardBody reads what the caller still sends, at most maxDiscard bytes and for at most the given
// time: most clients read no answer before they have sent everything, and closing the connection
// earlier would reset it. A caller who asked first whether to send (Expect: 100-continue) is not
// asked to.
func discardBody(w http.ResponseWriter, r *http.Request, discard time.Duration) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(discard))
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, maxDiscard)
	}
}

// setChallenge adds the header that RFC 9110, section 15.5.2, requires for a 401.
func setChallenge(header http.Header, status int) {
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `X-Auth-Signature realm="sidecar"`)
	}
}

// refusalInterval is the time between two reports of refusals. A flood of them then costs the
// journal one line per status and interval.
const refusalInterval = 5 * time.Second

// refusalLog counts refusals by status until they are reported to the executor.
type refusalLog struct {
	interval time.Duration

	mu      sync.Mutex
	pending map[uint16]message.Refusal
}

// add counts one refusal, and keeps its address and reason for the report.
func (l *refusalLog) add(status int, remote, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = map[uint16]message.Refusal{}
	}
	key := uint16(status)
	count := l.pending[key].Count + 1
	l.pending[key] = message.Refusal{Status: key, Count: count, Remote: remote, Reason: reason}
}

// report sends the refusals of each interval until ctx is done.
func (l *refusalLog) report(ctx context.Context, conn *message.Conn) {
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.send(conn)
		case <-ctx.Done():
			return
		}
	}
}

// send reports what has been counted.
func (l *refusalLog) send(conn *message.Conn) {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, refusal := range pending {
		_ = conn.Send(message.Frame{Kind: message.Refused, Payload: refusal.Encode()})
	}
}
