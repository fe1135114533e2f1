package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// longestRefusal bounds what is read of an answer that is none of the protocol's results.
const longestRefusal = 64 << 10

// ErrStranger means that something answered, and that it is no Sidecar.
var ErrStranger = errors.New("what answers there is no Sidecar")

// ErrNoTLS means that https:// was asked of something that speaks plain HTTP.
var ErrNoTLS = http.ErrSchemeMismatch

// Statuses of a Refusal that callers tell apart.
const (
	Unauthorized = http.StatusUnauthorized       // the signature does not hold
	Busy         = http.StatusServiceUnavailable // try again later
)

// Unreachable is a request that got no answer, or not the whole of it.
type Unreachable struct {
	Target Target
	Sent   bool // the request may have arrived
	Err    error
}

func (e *Unreachable) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s gave no whole answer: %v", e.Target, e.Err)
	}
	return fmt.Sprintf("cannot reach %s: %v", e.Target, e.Err)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// MayHaveArrived says whether the request of an error may be carried out all the same.
func MayHaveArrived(err error) bool {
	unreachable, ok := errors.AsType[*Unreachable](err)
	return ok && unreachable.Sent
}

// Refusal is an answer that says why a request was not carried out.
type Refusal struct {
	Status     int
	Message    string
	RetryAfter time.Duration // 0: nothing was said
	// Skew is how far this host's clock is ahead of the other one's, as far as the answer tells.
	Skew time.Duration
}

func (e *Refusal) Error() string { return e.Message }

func (c *Client) unreachable(err error, sent bool) error {
	// What wraps the cause names method, URL and addresses, which the target says already.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if wrapped, ok := errors.AsType[*net.OpError](err); ok {
		err = wrapped.Err
	}
	if wrapped, ok := errors.AsType[*os.SyscallError](err); ok {
		err = wrapped.Err
	}
	return &Unreachable{Target: c.target, Sent: sent, Err: err}
}

func (c *Client) broken(err error) error {
	return &Unreachable{Target: c.target, Sent: true, Err: err}
}

func (c *Client) stranger(response *http.Response) error {
	return fmt.Errorf("%s answers %s: %w", c.target, response.Status, ErrStranger)
}

// refusal reads the error envelope.
func (c *Client) refusal(response *http.Response, sent time.Time) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, longestRefusal))
	if err != nil {
		return c.broken(err)
	}
	var envelope struct {
		OK      *bool
		Message string
	}
	if json.Unmarshal(text, &envelope) != nil || envelope.OK == nil || *envelope.OK {
		return c.stranger(response)
	}
	refused := &Refusal{Status: response.StatusCode, Message: envelope.Message}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		refused.RetryAfter = time.Duration(seconds) * time.Second
	}
	if theirs, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		refused.Skew = sent.Truncate(time.Second).Sub(theirs)
	}
	return refused
}
