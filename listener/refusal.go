package listener

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// reportInterval is how often the executor hears of callers that were turned away unread. A flood of
// them costs the journal one line per status and interval.
const reportInterval = 5 * time.Second

type pendingRefusal struct {
	count          uint32
	remote, reason string
}

// refusal is an answer that needs no executor.
type refusal struct {
	status     int
	message    string
	allow      string
	retryAfter string
}

// envelope is the protocol's JSON for an error.
func envelope(text string) []byte {
	quoted, _ := json.Marshal(text) // a string always has a JSON form
	return append(append([]byte(`{"ok":false,"message":`), quoted...), `,"data":null}`...)
}

// refuse answers without the executor, which hears of it later, and closes the connection.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	sendRefusal(w, r, why)
	h.role.noteRefusal(uint16(why.status), remote(r), why.message)
}

func sendRefusal(w http.ResponseWriter, r *http.Request, why *refusal) {
	discardBody(w, r)
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

// discardBody takes what the caller still sends, within bounds: most clients read no answer before they
// have sent everything, and closing the connection earlier would reset it. A caller who asked first
// whether to send (Expect: 100-continue) is not asked to.
func discardBody(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(discardTime))
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, discardBytes)
	}
}

// setChallenge adds what RFC 9110, section 15.5.2, asks of every 401.
func setChallenge(header http.Header, status int) {
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `X-Auth-Signature realm="sidecar"`)
	}
}

func (r *Role) noteRefusal(status uint16, remote, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.refused[status]
	if p == nil {
		p = &pendingRefusal{}
		r.refused[status] = p
	}
	p.count++
	p.remote, p.reason = remote, reason
}

func (r *Role) reportRefusals(ctx context.Context) {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.sendRefusals()
		case <-ctx.Done():
			return
		}
	}
}

func (r *Role) sendRefusals() {
	r.mu.Lock()
	pending := r.refused
	r.refused = map[uint16]*pendingRefusal{}
	r.mu.Unlock()
	for status, p := range pending {
		report := message.Refusal{Status: status, Count: p.count, Remote: p.remote, Reason: p.reason}
		_ = r.conn.Send(message.Frame{Kind: message.Refused, Payload: report.Encode()})
	}
}
