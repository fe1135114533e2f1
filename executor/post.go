package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

var (
	errStopping = errors.New("the daemon stops")
	errLate     = errors.New("the receiver was busy with other callbacks until the time was up")
	errRoleGone = errors.New("the network role ended meanwhile")
)

// post makes one attempt through the network role. Each attempt is signed anew: its timestamp and
// nonce must be fresh for the receiver to accept it. X-Sidecar-Job-Id is the same in every repetition.
func (s *Session) post(ctx context.Context, d *delivery, key []byte, attempt int) (message.Outcome, error) {
	callback, err := newCallback(d, key, attempt)
	if err != nil {
		return message.Outcome{}, err
	}
	payload := callback.Encode()
	if len(payload) > message.MaxHead { // from a state directory: requests are refused before
		return message.Outcome{}, fmt.Errorf("the URL and the headers of the callback have %d bytes, and %d is the most", len(payload), message.MaxHead)
	}
	id, st, outcome := s.beginPost()
	defer s.endPost(id)
	if err := s.conn.Send(message.Frame{Kind: message.Post, ID: id, Payload: payload}); err != nil {
		return message.Outcome{}, errRoleGone
	}
	go sendBody(st, d.outcome)
	select {
	case o := <-outcome:
		return o, nil
	case <-s.ended:
		return message.Outcome{}, errRoleGone
	case <-ctx.Done():
		return message.Outcome{}, errStopping
	}
}

func (s *Session) beginPost() (uint64, *stream, chan message.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPost++
	st, outcome := newStream(s, s.lastPost|message.PostFlag), make(chan message.Outcome, 1)
	s.streams[st.id] = st
	s.outcomes[s.lastPost] = outcome
	return s.lastPost, st, outcome
}

func (s *Session) endPost(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.outcomes, id)
	if st := s.streams[id|message.PostFlag]; st != nil {
		st.abandon()
		delete(s.streams, id|message.PostFlag)
	}
}

func (s *Session) takePosted(f message.Frame) error {
	outcome, err := message.DecodeOutcome(f.Payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if waiting := s.outcomes[f.ID]; waiting != nil {
		delete(s.outcomes, f.ID)
		waiting <- outcome
		return nil
	}
	return s.checkKnown(f.ID | message.PostFlag)
}

// sendBody streams the result. A receiver that answers before it has read all of it ends the stream.
func sendBody(st *stream, o outcome) {
	w := bodyOf(st)
	if o.writeKwargs(w) == nil {
		_ = w.Close()
	}
}

// newCallback writes the body once for its length and signature; sending it writes it again, so that
// it is never held as a whole.
func newCallback(d *delivery, key []byte, attempt int) (message.Callback, error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	request := sign.Request{
		Method: "POST", Path: pathOf(d.url),
		Nonce: hex.EncodeToString(nonce[:]), Timestamp: fmt.Sprint(time.Now().Unix()),
	}
	var length counter
	signature, err := sign.SignatureOf(key, request, func(w io.Writer) error {
		return d.outcome.writeKwargs(io.MultiWriter(w, &length))
	})
	if err != nil {
		return message.Callback{}, fmt.Errorf("cannot sign the callback: %w", err)
	}
	headers := append([]string{
		"Content-Type", jsonType,
		"X-Auth-Nonce", request.Nonce, "X-Auth-Timestamp", request.Timestamp, "X-Auth-Signature", signature,
		"X-Sidecar-Job-Id", d.id, "X-Sidecar-Attempt", fmt.Sprint(attempt),
	}, d.outcome.headers()...)
	return message.Callback{URL: d.url.String(), Headers: headers, Length: int64(length)}, nil
}

// pathOf is the path as net/http sends it, without the query.
func pathOf(u *url.URL) string {
	if path := u.EscapedPath(); path != "" {
		return path
	}
	return "/"
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
