package listener

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// handler answers GET / itself and passes every other request on, once its frame is in order: what
// is unsigned, ambiguous or too large never reaches the executor.
type handler struct {
	role    *Role
	maxBody int64
	bodies  *bodyBudget
}

func newHandler(role *Role, maxBody uint32) *handler {
	return &handler{role: role, maxBody: int64(maxBody), bodies: newBodyBudget()}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noteHandled(r)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // net/http reads a body that no handler wants
	path, query, hasQuery := strings.Cut(r.RequestURI, "?")
	if path == "/" {
		h.welcome(w, r)
		return
	}
	call, why := h.frame(r, path)
	if why == nil && hasQuery {
		why = &refusal{status: http.StatusBadRequest, message: fmt.Sprintf("the query (%d bytes) is not covered by the signature: send its content in the body", len(query))}
	}
	part := share{budget: h.bodies}
	var payload []byte
	if why == nil {
		payload, why = h.readBody(w, r, call.Encode(), &part)
	}
	if why != nil {
		part.giveBack()
		h.refuse(w, r, why)
		return
	}
	h.forward(w, r, payload, &part)
}

func (h *handler) welcome(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, message: "only GET is allowed here; commands go to POST /shell", allow: "GET, HEAD"})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, h.role.banner)
}

// frame takes everything but the body off the request.
func (h *handler) frame(r *http.Request, path string) (message.Call, *refusal) {
	if !strings.HasPrefix(path, "/") {
		return message.Call{}, &refusal{status: http.StatusBadRequest, message: "the request target must be a path such as /shell, not a whole URL"}
	}
	call := message.Call{Method: r.Method, Path: path, Remote: remote(r)}
	for _, header := range []struct {
		name  string
		field *string
	}{{"X-Auth-Signature", &call.Signature}, {"X-Auth-Nonce", &call.Nonce}, {"X-Auth-Timestamp", &call.Timestamp}} {
		values := r.Header.Values(header.name)
		if len(values) != 1 {
			return call, &refusal{status: http.StatusUnauthorized, message: fmt.Sprintf("the request must be signed: it needs exactly one %s header, and has %d", header.name, len(values))}
		}
		if values[0] == "" {
			return call, &refusal{status: http.StatusUnauthorized, message: fmt.Sprintf("the request must be signed: its %s header is empty", header.name)}
		}
		*header.field = values[0]
	}
	return call, checkMedia(r)
}

// checkMedia refuses what is not plain JSON. A request without a Content-Type is taken as JSON.
func checkMedia(r *http.Request) *refusal {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return &refusal{status: http.StatusUnsupportedMediaType, message: "the body must not be compressed: leave Content-Encoding out"}
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	if media != "" && !strings.EqualFold(media, "application/json") {
		return &refusal{status: http.StatusUnsupportedMediaType, message: "the body must be JSON: send Content-Type: application/json"}
	}
	return nil
}

// readBody appends the whole body to head, within the size, the time and the memory that bodies may take.
func (h *handler) readBody(w http.ResponseWriter, r *http.Request, head []byte, part *share) ([]byte, *refusal) {
	tooLarge := &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body is larger than %d bytes: send less, or raise MAX_BODY in the configuration", h.maxBody)}
	if r.ContentLength > h.maxBody {
		return nil, tooLarge
	}
	most := r.ContentLength
	if most < 0 {
		most = h.maxBody
	}
	payload, err := part.readOnto(head, http.MaxBytesReader(w, r.Body, h.maxBody), most)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the answer may take as long as the command
	if err == nil {
		return payload, nil
	}
	if _, tooMany := errors.AsType[*http.MaxBytesError](err); tooMany {
		return nil, tooLarge
	}
	if err == errCrowded {
		return nil, &refusal{status: http.StatusServiceUnavailable, message: "too many large requests at once: try again later", retryAfter: "1"}
	}
	return nil, &refusal{status: http.StatusBadRequest, message: "the body did not arrive whole: " + whyCut(err)}
}

// whyCut tells a caller who was slow from one who stopped and one who sent what is no body.
func whyCut(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("it may take %d s", int(bodyTimeout.Seconds()))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended before it did"
	}
	return "the connection broke, or its chunks are malformed"
}

// forward waits for the executor's answer as long as it takes, or until the caller hangs up. Payload is the
// encoded call, and has left this process when its part of the budget is given back.
func (h *handler) forward(w http.ResponseWriter, r *http.Request, payload []byte, part *share) {
	if !noteAsked(r) {
		part.giveBack()
		panic(http.ErrAbortHandler) // cut off: nobody would hear of what is done
	}
	id, answer, err := h.role.ask(message.Request, payload)
	part.giveBack()
	if err != nil {
		h.refuse(w, r, &refusal{status: http.StatusServiceUnavailable, message: "the executor cannot be reached: try again", retryAfter: "1"})
		return
	}
	finished, err := h.relay(w, r, id, answer)
	h.role.release(id, finished)
	if err != nil {
		// An answer that is not there, or not to its end, must not look whole: net/http would end it in order
		// for a caller who has closed his sending side only, and whom it takes for gone.
		panic(http.ErrAbortHandler)
	}
}

// relay writes the answer as it arrives. It says whether the executor has nothing more to send.
func (h *handler) relay(w http.ResponseWriter, r *http.Request, id uint64, answer *inbox) (finished bool, err error) {
	f, err := answer.take(r.Context())
	if err != nil {
		return false, err
	}
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		return f.Last, err
	}
	if head.Status == http.StatusUnauthorized {
		noteStranger(r)
	}
	writeHead(w, head)
	piece := head.Body
	for {
		pause := !f.Last && answer.isEmpty() // this may be all that comes for a while
		if err := writePiece(w, piece, pause); err != nil || f.Last {
			return f.Last, err
		}
		h.role.credit(id, len(piece))
		h.role.conn.Reuse(f.Payload)
		if f, err = answer.take(r.Context()); err != nil {
			return false, err
		}
		piece = f.Payload
	}
}

func writeHead(w http.ResponseWriter, head message.Head) {
	header := w.Header()
	header.Set("Content-Type", head.ContentType)
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
func writePiece(w http.ResponseWriter, piece []byte, flush bool) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(piece); err != nil || !flush {
		return err
	}
	return control.Flush()
}

// remote is the caller's address as text; callers on a Unix socket have none.
func remote(r *http.Request) string {
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return "unix socket"
	}
	return r.RemoteAddr
}
