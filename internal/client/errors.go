package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/escape"
)

const (
	maxRefusal    = 64 << 10     // bytes of an answer that is not a result
	maxMessage    = 2000         // characters of the other side's text in an error
	maxRetryAfter = 24 * 60 * 60 // seconds
	// minSkew is the smallest difference of clocks to report: the Date header counts seconds.
	minSkew = 5 * time.Second
)

// ErrStranger means that an answer is not of the protocol. A proxy may have given it, so the
// request may have been carried out.
var ErrStranger = errors.New("that is not an answer of a Sidecar")

// Stranger is an answer that is not of the protocol.
type Stranger struct {
	Target Target
	Status int    // of HTTP
	text   string // the status with its text, escaped
}

func (e *Stranger) Error() string {
	return fmt.Sprintf("%s answers %s: %v", e.Target, e.text, ErrStranger)
}

func (e *Stranger) Unwrap() error { return ErrStranger }

// ErrNoTLS means that an https:// target speaks plain HTTP.
var ErrNoTLS = http.ErrSchemeMismatch

// Statuses of a Refusal that callers distinguish.
const (
	BadRequest   = http.StatusBadRequest          // such as a key that is not known
	Unauthorized = http.StatusUnauthorized        // the signature does not hold
	NotFound     = http.StatusNotFound            // no such job, or not known to that release
	OtherRequest = http.StatusUnprocessableEntity // the job id belongs to another request
	Busy         = http.StatusServiceUnavailable  // try again later
)

// Unreachable is a request without an answer, or with an incomplete one.
type Unreachable struct {
	Target    Target
	Listens   bool // something listens there
	Connected bool // there was a connection, with https after the handshake of TLS
	Sent      bool // the request may have arrived
	Err       error
}

func (e *Unreachable) Error() string {
	why := escape.Line(e.Err.Error(), maxMessage) // it can quote the other side
	if unresolved, ok := errors.AsType[*net.DNSError](e.Err); ok {
		why = "the host name was not found"
		if !unresolved.IsNotFound {
			why = "the host name cannot be resolved"
		}
	}
	if e.Sent {
		return fmt.Sprintf("%s gave no whole answer: %s", e.Target, why)
	}
	return fmt.Sprintf("cannot reach %s: %s", e.Target, why)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// MayHaveArrived reports whether the failed request may still be carried out.
func MayHaveArrived(err error) bool {
	unreachable, ok := errors.AsType[*Unreachable](err)
	return ok && unreachable.Sent || errors.Is(err, ErrStranger)
}

// Connected reports whether a failed request had a connection: something listens at the target.
func Connected(err error) bool {
	unreachable, ok := errors.AsType[*Unreachable](err)
	return ok && unreachable.Connected
}

// Refusal is an answer with the reason why a request was not carried out.
type Refusal struct {
	Status     int
	Message    string        // escaped
	RetryAfter time.Duration // 0: not given
	Skew       time.Duration // this host's clock minus the other one's; 0: none, or not known
	Waited     time.Duration // from the request to the answer
}

func (e *Refusal) Error() string { return e.Message }

func (c *Client) unreachable(err error) *Unreachable {
	if unresolved, ok := errors.AsType[*net.DNSError](err); ok {
		return &Unreachable{Target: c.target, Err: unresolved}
	}
	// The wrapping errors repeat the URL and addresses that the target names.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if wrapped, ok := errors.AsType[*net.OpError](err); ok {
		err = wrapped.Err
	}
	if wrapped, ok := errors.AsType[*os.SyscallError](err); ok {
		err = wrapped.Err
	}
	return &Unreachable{Target: c.target, Err: err}
}

func (c *Client) incomplete(err error) error {
	return &Unreachable{Target: c.target, Listens: true, Connected: true, Sent: true, Err: err}
}

func (c *Client) stranger(response *http.Response) error {
	return &Stranger{c.target, response.StatusCode, escape.Line(response.Status, maxMessage)}
}

// refusal decodes the error envelope.
func (c *Client) refusal(response *http.Response, sent time.Time) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		return c.incomplete(err)
	}
	var envelope struct {
		OK      *bool
		Message string
	}
	if json.Unmarshal(text, &envelope) != nil || envelope.OK == nil || *envelope.OK {
		return c.stranger(response)
	}
	refused := &Refusal{
		Status: response.StatusCode, Message: escape.Line(envelope.Message, maxMessage),
		Waited: time.Since(sent),
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err == nil && seconds <= maxRetryAfter {
		refused.RetryAfter = time.Duration(seconds) * time.Second
	}
	if theirs, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		refused.Skew = skew(theirs, sent, time.Now())
	}
	return refused
}

// skew returns by how much this host's clock is ahead of the one that wrote theirs, in seconds. The
// answer was written between sent and received, which can be far apart.
func skew(theirs, sent, received time.Time) time.Duration {
	if early := sent.Truncate(time.Second).Sub(theirs); early > 0 {
		return early
	}
	return min(received.Sub(theirs), 0)
}

// Explain returns an error as a sentence, with a hint where the user can do something. keySource
// names where the key came from.
func Explain(err error, keySource string) string {
	var refused *Refusal
	var unreachable *Unreachable
	var stranger *Stranger
	var hint string
	switch {
	case errors.As(err, &refused):
		return explainRefusal(refused, keySource)
	case errors.As(err, &unreachable):
		hint = hintFor(unreachable)
	case errors.As(err, &stranger) && stranger.Status >= http.StatusInternalServerError:
		hint = "a proxy may have given up waiting: see its time limits, and whether the service " +
			"runs"
	case errors.Is(err, ErrStranger):
		hint = "compare the URL with BIND of its configuration"
	}
	if hint == "" {
		return err.Error()
	}
	return err.Error() + "\nhint: " + hint
}

func explainRefusal(refused *Refusal, keySource string) string {
	text := fmt.Sprintf("refused with %d: %s", refused.Status, refused.Message)
	switch {
	case refused.Status == Unauthorized:
		text += fmt.Sprintf(" (the key here came from %s)", keySource)
		if skew := refused.Skew.Abs(); skew >= minSkew {
			direction := "ahead of"
			if refused.Skew < 0 {
				direction = "behind"
			}
			text += fmt.Sprintf(
				"; the clock of this host is %s %s the other's: set both, see timedatectl", skew,
				direction,
			)
		} else if refused.Waited >= waitNotice {
			text += fmt.Sprintf("; the clocks agree, and the answer took %s: the request may have "+
				"become too old meanwhile\nhint: send it again",
				refused.Waited.Round(time.Second))
		}
	case refused.Status == OtherRequest:
		text += "\nhint: leave --job-id out, or give an id that was not used before"
	case refused.Status == Busy && refused.RetryAfter > 0:
		text += fmt.Sprintf(" (try again in %s)", refused.RetryAfter)
	}
	return text
}

// hintNoAnswer is for a listening socket whose connections are not served.
const hintNoAnswer = "something listens there and does not answer: run dataflux-func-sidecar " +
	"check on its host"

// WaitHint is a sentence for a caller who waits, and what to do.
func (c *Client) WaitHint() string {
	return fmt.Sprintf("connected to %s, no answer yet: the service may not run, and the call "+
		"waits for it\nhint: run dataflux-func-sidecar check on its host", c.target)
}

func hintFor(e *Unreachable) string {
	var unknown x509.UnknownAuthorityError
	var unresolved *net.DNSError
	var timeout net.Error
	isTimeout := errors.Is(e, context.DeadlineExceeded) ||
		errors.As(e, &timeout) && timeout.Timeout()
	switch {
	case e.Listens && isTimeout:
		return hintNoAnswer
	case e.Sent:
		return ""
	case errors.As(e, &unresolved) && unresolved.IsNotFound:
		return "compare its spelling, or give the IP address"
	case errors.As(e, &unresolved):
		return "no name server answers, see /etc/resolv.conf; or give the IP address"
	case errors.Is(e, syscall.ECONNREFUSED), errors.Is(e, os.ErrNotExist):
		return "see systemctl status dataflux-func-sidecar, and compare the address with BIND"
	case errors.Is(e, syscall.EACCES):
		return "run this as root, or in the group that SocketGroup= of the socket unit names"
	case errors.As(e, &unknown):
		return "name the certificate of its authority with --ca"
	case errors.Is(e, ErrOtherCertificate):
		return "after TLS_CERTIFICATE was renewed: systemctl reload dataflux-func-sidecar"
	case errors.Is(e, ErrNoTLS):
		return "it speaks no TLS: write http:// in place of https://"
	case isTimeout:
		return "check that the host is up, and that no firewall drops connections to this port"
	}
	return ""
}
