package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// poster posts callbacks, one attempt each. The executor decides about retries.
type poster struct {
	conn        *message.Conn
	streams     *streams
	timeout     time.Duration
	authorities authorities
	dialer      net.Dialer
	// resolverReadable reports whether package net can read resolv.conf.
	resolverReadable func() bool

	mu     sync.Mutex
	client *http.Client
	roots  *x509.CertPool // of client; nil until the first https
}

func newPoster(role *Role, timeout time.Duration) *poster {
	p := &poster{
		conn: role.conn, streams: role.streams, timeout: timeout,
		authorities: authorities{files: authorityFiles},
		dialer:      net.Dialer{Timeout: 10 * time.Second}, resolverReadable: resolverReadable,
	}
	p.client = p.newClient(nil)
	return p
}

func (p *poster) newClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy:                  nil, // the daemon's environment must not redirect results
		DialContext:            p.dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 256 << 10, // a callback accepted with more would be sent again
		DisableCompression:     true,      // the answer's body is not used
	}
	return &http.Client{
		Transport: transport,
		Timeout:   p.timeout,
		// A redirect would resend the result to an address that was not signed.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// clientFor returns a client that trusts the host's present certificate authorities. After a change
// it is a new one, because kept connections were verified with the old authorities.
func (p *poster) clientFor(scheme string) (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if scheme != "https" {
		return p.client, nil
	}
	roots, err := p.authorities.load()
	if err != nil {
		return nil, err
	}
	if roots != p.roots {
		p.client.CloseIdleConnections()
		p.client, p.roots = p.newClient(roots), roots
	}
	return p.client, nil
}

// post makes one attempt and reports its outcome.
func (p *poster) post(ctx context.Context, id uint64, callback message.Callback, body *inbox) {
	outcome := p.attempt(ctx, id, callback, body)
	p.streams.closePost(id)
	_ = p.conn.Send(message.Frame{Kind: message.Posted, ID: id, Payload: outcome.Encode()})
}

func (p *poster) attempt(
	ctx context.Context, id uint64, callback message.Callback, body *inbox,
) message.Outcome {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, resolverKey{}, callback.Resolver))
	defer cancel()
	reader := &postBody{ctx: ctx, streams: p.streams, id: id, frames: body}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, callback.URL, reader)
	if err != nil {
		return message.Outcome{Error: "the URL is not valid"}
	}
	request.ContentLength = callback.Length
	request.Header.Set("User-Agent", "dataflux-func-sidecar")
	for i := 0; i < len(callback.Headers); i += 2 {
		request.Header.Set(callback.Headers[i], callback.Headers[i+1])
	}
	client, err := p.clientFor(request.URL.Scheme)
	if err != nil {
		return message.Outcome{Error: err.Error()}
	}
	response, err := client.Do(request)
	if err != nil {
		return message.Outcome{Error: withoutURL(err)}
	}
	// A bounded part of the answer's body is read, so that the connection is kept. The body of a
	// 101 is the bare connection, and reading it would not end.
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	}
	_ = response.Body.Close()
	return message.Outcome{Status: uint16(response.StatusCode), RetryAfter: retryAfter(response)}
}

// withoutURL drops the URL from an error: it may hold credentials.
func withoutURL(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if wrapped.Timeout() {
			return fmt.Sprintf("no answer in time (%v)", wrapped.Err)
		}
		return wrapped.Err.Error()
	}
	return err.Error()
}

// retryAfter returns Retry-After, in either of its forms, in seconds: zero if there is none.
func retryAfter(response *http.Response) uint32 {
	value := response.Header.Get("Retry-After")
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return uint32(seconds) // the largest number, if it is out of range
	}
	if at, err := http.ParseTime(value); err == nil {
		return uint32(max(0, min(time.Until(at), 24*time.Hour)) / time.Second)
	}
	return 0
}

// postBody is a callback's body as its frames arrive. It credits the executor for what was read.
type postBody struct {
	ctx     context.Context
	streams *streams
	id      uint64
	frames  *inbox
	rest    []byte
	last    bool
}

func (b *postBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.last {
			return 0, io.EOF
		}
		f, err := b.frames.next(b.ctx)
		if err != nil {
			return 0, err
		}
		b.rest, b.last = f.Payload, f.Last
		b.streams.credit(b.id|message.PostFlag, len(f.Payload))
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
