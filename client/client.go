// Package client calls a Sidecar for the command line: signed requests over TCP or a Unix socket, and
// answers read as they arrive.
//
// It must never read a configuration, print, or decide what a program exits with; it follows no redirect
// and uses no proxy, as a signature is for one host and one path. A key is in no error of it.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/sign"
)

// Client calls one Sidecar. It is safe for concurrent use.
type Client struct {
	target Target
	key    []byte
	http   *http.Client
}

// New makes a client for the holder of key; without one it can only ask for the welcome.
func New(target Target, key []byte) *Client {
	return &Client{target: target, key: key, http: &http.Client{
		Transport:     target.transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Target is what the client calls.
func (c *Client) Target() Target { return c.target }

// Welcome is the unsigned text that tells the version.
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
	text, err := io.ReadAll(io.LimitReader(response.Body, longestRefusal))
	if err != nil {
		return "", c.broken(err)
	}
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), "Welcome to DataFlux Func Sidecar\n") {
		return "", c.stranger(response)
	}
	return string(text), nil
}

// call sends a signed request; a value becomes its body as JSON, nil none. The body of the response is
// the caller's to close. An answer other than success is an error, mostly a Refusal.
func (c *Client) call(ctx context.Context, method, path string, value any) (*http.Response, error) {
	body, err := encode(value)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.target.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	c.sign(request, path, body, sent)
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

// do notes whether the request has left, as a command that did may run whatever becomes of its answer.
func (c *Client) do(request *http.Request) (*http.Response, error) {
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	response, err := c.http.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		return nil, c.unreachable(err, sent.Load())
	}
	return response, nil
}

func encode(value any) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the request: %w", err)
	}
	return body, nil
}

func (c *Client) sign(request *http.Request, path string, body []byte, now time.Time) {
	signed := sign.Request{
		Method: request.Method, Path: path, Nonce: newNonce(), Timestamp: strconv.FormatInt(now.Unix(), 10), Body: body,
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auth-Nonce", signed.Nonce)
	request.Header.Set("X-Auth-Timestamp", signed.Timestamp)
	request.Header.Set("X-Auth-Signature", sign.Signature(c.key, signed))
}

func newNonce() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(nonce[:])
}

// NewJobID draws an id for a job, so that whoever asked for it can name it whatever becomes of the answer.
func NewJobID() string { return strings.ToLower(rand.Text()[:16]) }
