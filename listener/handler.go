package listener

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// handler answers GET / itself and sends every other request to the executor, once its form is
// right: what is unsigned, ambiguous or too large never reaches the executor.
type handler struct {
	banner   string
	streams  *streams
	refusals *refusalLog
	timeouts timeouts
	maxBody  int64
	budget   *bodyBudget
}

func newHandler(role *Role, maxBody uint32) *handler {
	return &handler{
		banner: role.banner, streams: role.streams, refusals: &role.refusals,
		timeouts: role.timeouts, maxBody: int64(maxBody), budget: newBodyBudget(),
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	advance(r, reading, handling)
	setDeadlines(w, h.timeouts)
	path, query, hasQuery := strings.Cut(r.RequestURI, "?")
	if path == "/" {
		h.welcome(w, r)
		return
	}
	call, why := callOf(r, path)
	if why == nil && hasQuery {
		why = &refusal{
			status: http.StatusBadRequest,
			message: fmt.Sprintf("the query (%d bytes) is not covered by the signature: "+
				"send its content in the body", len(query)),
		}
	}
	share := budgetShare{budget: h.budget}
	var payload []byte
	if why == nil {
		payload, why = h.readBody(w, r, call.Encode(), &share)
	}
	if why != nil {
		share.release()
		h.refuse(w, r, why)
		return
	}
	h.forward(w, r, payload, &share)
}

func (h *handler) welcome(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, &refusal{
			status: http.StatusMethodNotAllowed, allow: "GET, HEAD",
			message: "only GET is allowed here; commands go to POST /shell",
		})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, h.banner)
}

// refuse answers without the executor, which gets a report later, and closes the connection.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	sendRefusal(w, r, why, h.timeouts.discard)
	h.refusals.add(why.status, remote(r), why.message)
}

// callOf returns everything but the body.
func callOf(r *http.Request, path string) (message.Call, *refusal) {
	if !strings.HasPrefix(path, "/") {
		return message.Call{}, &refusal{
			status:  http.StatusBadRequest,
			message: "the request target must be a path such as /shell, not a whole URL",
		}
	}
	call := message.Call{Method: r.Method, Path: path, Remote: remote(r)}
	var err error
	if r.Header["Signature"] == nil && r.Header["Signature-Input"] == nil {
		err = readHeaders(r, []signatureHeader{
			{"X-Auth-Signature", &call.Signature, true},
			{"X-Auth-Nonce", &call.Nonce, true},
			{"X-Auth-Timestamp", &call.Timestamp, true},
		})
	} else {
		call.Signature, err = httpSignature(r)
	}
	if err != nil {
		return call, &refusal{
			status: http.StatusUnauthorized, message: "the request must be signed: " + err.Error(),
		}
	}
	return call, checkMedia(r)
}

// checkMedia refuses what is not plain JSON. A request without a Content-Type counts as JSON.
func checkMedia(r *http.Request) *refusal {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return &refusal{
			status:  http.StatusUnsupportedMediaType,
			message: "the body must not be compressed: leave Content-Encoding out",
		}
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	if media != "" && !strings.EqualFold(media, "application/json") {
		return &refusal{
			status:  http.StatusUnsupportedMediaType,
			message: "the body must be JSON: send Content-Type: application/json",
		}
	}
	return nil
}

// readBody appends the whole body to head, within the size, the time and the memory that bodies may
// take.
func (h *handler) readBody(
	w http.ResponseWriter, r *http.Request, head []byte, share *budgetShare,
) ([]byte, *refusal) {
	tooLarge := &refusal{
		status: http.StatusRequestEntityTooLarge,
		message: fmt.Sprintf("the body is larger than %d bytes: "+
			"send less, or raise MAX_BODY in the configuration", h.maxBody),
	}
	if r.ContentLength > h.maxBody {
		return nil, tooLarge
	}
	size := r.ContentLength
	if size < 0 { // chunked
		size = h.maxBody
	}
	payload, err := share.read(head, http.MaxBytesReader(w, r.Body, h.maxBody), size)
	// The answer may take as long as the command.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err == nil {
		return payload, nil
	}
	if _, tooMany := errors.AsType[*http.MaxBytesError](err); tooMany {
		return nil, tooLarge
	}
	if err == errNoBudget {
		return nil, &refusal{
			status: http.StatusServiceUnavailable, retryAfter: "1",
			message: "too many large requests at once: try again later",
		}
	}
	return nil, &refusal{
		status:  http.StatusBadRequest,
		message: "the body did not arrive whole: " + h.whyIncomplete(err),
	}
}

func (h *handler) whyIncomplete(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("it may take %d s", int(h.timeouts.body.Seconds()))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended before it did"
	}
	return "the connection broke, or its chunks are malformed"
}

// forward sends the encoded call and waits for the executor's answer as long as it takes, or until
// the caller hangs up.
func (h *handler) forward(
	w http.ResponseWriter, r *http.Request, payload []byte, share *budgetShare,
) {
	if !advance(r, handling, forwarded) {
		share.release()
		panic(http.ErrAbortHandler) // closed by a drain: the caller would not get the result
	}
	id, answer, err := h.streams.open(message.Request, payload)
	share.release()
	if err != nil {
		h.refuse(w, r, unreachable())
		return
	}
	finished, err := h.relay(w, r, id, answer)
	h.streams.close(id, finished)
	if err != nil {
		// An incomplete answer must not look complete: net/http takes a caller who has closed only
		// his sending side for gone, and would end the answer in order.
		panic(http.ErrAbortHandler)
	}
}

// relay writes the answer as it arrives. It reports whether the executor has nothing more to send.
func (h *handler) relay(
	w http.ResponseWriter, r *http.Request, id uint64, answer *inbox,
) (finished bool, err error) {
	f, err := answer.next(r.Context())
	if err != nil {
		return err == errAborted, err
	}
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		return f.Last, err
	}
	if head.Status == http.StatusUnauthorized {
		// Nothing was done: a drain need not wait for a caller who reads slowly.
		advance(r, forwarded, handling)
	}
	writeHead(w, head)
	piece := head.Body
	for {
		flush := !f.Last && answer.isEmpty() // nothing more may come for a while
		if err := h.writePiece(w, piece, flush); err != nil || f.Last {
			return f.Last, err
		}
		h.streams.credit(id, len(piece))
		h.streams.conn.Reuse(f.Payload)
		if f, err = answer.next(r.Context()); err != nil {
			return err == errAborted, err
		}
		piece = f.Payload
	}
}

func writeHead(w http.ResponseWriter, head message.Head) {
	header := w.Header()
	header.Set("Content-Type", head.ContentType)
	if head.ContentType == message.EventStream { // proxies must not hold it back
		header.Set("Cache-Control", "no-store")
		header.Set("X-Accel-Buffering", "no")
	}
	if head.Length >= 0 {
		header.Set("Content-Length", strconv.FormatInt(head.Length, 10))
	}
	if head.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatUint(uint64(head.RetryAfter), 10))
	}
	if head.Allow != "" {
		header.Set("Allow", head.Allow)
	}
	setChallenge(header, int(head.Status))
	w.WriteHeader(int(head.Status))
}

// writePiece gives a slow reader time for each piece.
func (h *handler) writePiece(w http.ResponseWriter, piece []byte, flush bool) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(h.timeouts.write))
	if _, err := w.Write(piece); err != nil || !flush {
		return err
	}
	return control.Flush()
}

// remote returns the caller's address as text. Callers on a Unix socket have none: the name that
// their own socket may have is theirs to choose, and can look like an address.
func remote(r *http.Request) string {
	if _, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); !isTCP {
		return "unix socket"
	}
	return r.RemoteAddr
}
