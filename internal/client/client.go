// Package client calls a Sidecar for the command line: signed requests over TCP or a Unix socket.
//
// It does not read a configuration, print, or choose an exit status. It follows no redirect and
// uses no proxy, as a signature is for one host and one path. Its errors never contain a key.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client calls one Sidecar. It is safe for concurrent use.
type Client struct {
	target Target
	key    Key
	http   *http.Client

	maxAnswer int64  // bytes
	onWait    func() // called when an answer does not come; nil: not called
	onMissing func(stream string, n int64)
}

// waitNotice is how long an answer is awaited in silence.
const waitNotice = 10 * time.Second

// OnWait makes the client call f, at most once and in a goroutine of its own, if a request that was
// sent has no answer after 10 seconds. A command that runs for longer is no other case.
func (c *Client) OnWait(f func()) {
	var once sync.Once
	c.onWait = func() { once.Do(f) }
}

// OnMissing makes the client call f where n bytes of a stream, "stdout" or "stderr", are missing in
// the output that it copies: they were not kept.
func (c *Client) OnMissing(f func(stream string, n int64)) { c.onMissing = f }

func (c *Client) missing(stream string, n int64) {
	if c.onMissing != nil && n > 0 {
		c.onMissing(stream, n)
	}
}

// New returns a client that signs with key; with the zero Key it can only ask for the welcome.
func New(target Target, key Key) *Client {
	return &Client{target: target, key: key, maxAnswer: maxAnswer, http: &http.Client{
		Transport: target.transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// Limit bounds every answer to maxBytes, for callers that expect little output.
func (c *Client) Limit(maxBytes int64) *Client {
	c.maxAnswer = min(c.maxAnswer, maxBytes)
	return c
}

// Welcome returns the unsigned text of GET /, which has the version in it.
func (c *Client) Welcome(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.target.base+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := c.do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		return "", c.incomplete(err)
	}
	if response.StatusCode != http.StatusOK ||
		!strings.HasPrefix(string(text), "Welcome to DataFlux Func Sidecar\n") {
		return "", c.stranger(response)
	}
	return string(text), nil
}

// call sends a signed request with value as its JSON body; nil is no body. The caller closes the
// body of the response. Any status but 200 is an error, mostly a Refusal.
func (c *Client) call(ctx context.Context, method, path string, value any) (*http.Response, error) {
	var body []byte
	if value != nil {
		var err error
		if body, err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("cannot encode the request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(
		ctx, method, c.target.base+path, bytes.NewReader(body),
	)
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	request.Host = Authority(request.URL)
	request.Header.Set("Content-Type", "application/json")
	for _, h := range c.key.Sign(method, request.URL, body, sent) {
		request.Header.Set(h.Name, h.Value)
	}
	response, err := c.do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		return nil, c.refusal(response, sent)
	}
	return response, nil
}

// do records in its error whether the request was sent: its command may then run without an answer.
func (c *Client) do(request *http.Request) (*http.Response, error) {
	var listens, connected, sent atomic.Bool
	trace := &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				listens.Store(true)
			}
		},
		GotConn:      func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteHeaders: func() { sent.Store(true) },
	}
	if c.onWait != nil {
		timer := time.AfterFunc(waitNotice, func() {
			if sent.Load() {
				c.onWait()
			}
		})
		defer timer.Stop()
	}
	response, err := c.http.Do(
		request.WithContext(httptrace.WithClientTrace(request.Context(), trace)),
	)
	if err != nil {
		failed := c.unreachable(err)
		failed.Listens, failed.Connected = listens.Load(), connected.Load()
		failed.Sent = sent.Load()
		return nil, failed
	}
	return response, nil
}
