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

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

var (
	errStopping = errors.New("the daemon stops")
	errRoleGone = errors.New("the network role ended meanwhile")
)

// post makes one attempt through the network role. Each attempt is signed anew: its timestamp and
// nonce must be fresh for the receiver to accept it.
func (s *Session) post(ctx context.Context, d *delivery, key []byte, attempt int) (message.Outcome, error) {
	callback, err := newCallback(d, key, attempt)
	if err != nil {
		return message.Outcome{}, err
	}
	id, st, outcome := s.beginPost()
	defer s.endPost(id)
	if err := s.conn.Send(message.Frame{Kind: message.Post, ID: id, Payload: callback.Encode()}); err != nil {
		return message.Outcome{}, errRoleGone
	}
	go sendBody(st, d.result)
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
func sendBody(st *stream, result *exec.Result) {
	w := bodyOf(st)
	if writeKwargs(w, result) == nil {
		_ = w.Close()
	}
}

// writeKwargs writes the callback's body: exactly the two keys that Func passes as keyword arguments.
func writeKwargs(w io.Writer, result *exec.Result) error {
	e := &encoder{w: w}
	e.raw(`{"kwargs":{"stdout":`)
	e.output(&result.Stdout)
	e.raw(`,"stderr":`)
	e.output(&result.Stderr)
	e.raw(`}}`)
	return e.err
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
		return writeKwargs(io.MultiWriter(w, &length), d.result)
	})
	if err != nil {
		return message.Callback{}, fmt.Errorf("cannot sign the callback: %w", err)
	}
	headers := append([]string{
		"Content-Type", jsonType,
		"X-Auth-Nonce", request.Nonce, "X-Auth-Timestamp", request.Timestamp, "X-Auth-Signature", signature,
	}, d.headers(attempt)...)
	return message.Callback{URL: d.url.String(), Headers: headers, Length: int64(length)}, nil
}

// headers tell what the body has no room for; X-Sidecar-Job-Id is the same in every repetition.
func (d *delivery) headers(attempt int) []string {
	r := d.result
	headers := []string{
		"X-Sidecar-Job-Id", d.id,
		"X-Sidecar-Attempt", fmt.Sprint(attempt),
		"X-Sidecar-Duration-Ms", fmt.Sprint(r.Duration.Milliseconds()),
		"X-Sidecar-Timed-Out", fmt.Sprint(r.Ended == exec.TimedOut),
		"X-Sidecar-Stdout-Bytes", fmt.Sprint(r.Stdout.Total()),
		"X-Sidecar-Stderr-Bytes", fmt.Sprint(r.Stderr.Total()),
		"X-Sidecar-Truncated", fmt.Sprint(r.Stdout.Truncated() || r.Stderr.Truncated()),
	}
	if r.Signal != 0 {
		return append(headers, "X-Sidecar-Signal", unix.SignalName(r.Signal))
	}
	return append(headers, "X-Sidecar-Exit-Code", fmt.Sprint(r.ExitCode))
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
