package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// poster posts callbacks, one attempt each; the executor decides about further ones.
type poster struct {
	role   *Role
	client *http.Client
}

func newPoster(role *Role, timeout time.Duration) *poster {
	transport := &http.Transport{
		Proxy:                  nil, // the daemon's environment must not redirect results
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 256 << 10, // with more, what a receiver has taken would be sent again
		DisableCompression:     true,      // of an answer that is not looked at
	}
	return &poster{role: role, client: &http.Client{
		Transport: transport,
		Timeout:   timeout,
		// A redirect would resend the result to an address that nobody signed for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *poster) post(ctx context.Context, id uint64, callback message.Callback, body *inbox) {
	outcome := p.attempt(ctx, id, callback, body)
	p.role.forgetBody(id)
	_ = p.role.conn.Send(message.Frame{Kind: message.Posted, ID: id, Payload: outcome.Encode()})
}

func (p *poster) attempt(ctx context.Context, id uint64, callback message.Callback, body *inbox) message.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, callback.URL, &postBody{role: p.role, ctx: ctx, id: id, frames: body})
	if err != nil {
		return message.Outcome{Error: "the URL is not valid"}
	}
	request.ContentLength = callback.Length
	request.Header.Set("User-Agent", "dataflux-func-sidecar")
	for i := 0; i < len(callback.Headers); i += 2 {
		request.Header.Set(callback.Headers[i], callback.Headers[i+1])
	}
	response, err := p.client.Do(request)
	if err != nil {
		return message.Outcome{Error: withoutURL(err)}
	}
	// The answer's body says nothing we need; a bounded part is read so that the connection is kept. Of a 101
	// it is the bare connection, and nothing would end that reading.
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	}
	_ = response.Body.Close()
	return message.Outcome{Status: uint16(response.StatusCode), RetryAfter: retryAfter(response)}
}

// withoutURL drops the URL from the error: it may hold credentials, and the executor knows it.
func withoutURL(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if wrapped.Timeout() {
			return fmt.Sprintf("no answer in time (%v)", wrapped.Err)
		}
		return wrapped.Err.Error()
	}
	return err.Error()
}

// retryAfter reads Retry-After in either of its forms, in seconds; zero if it is not there.
func retryAfter(response *http.Response) uint32 {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return uint32(seconds) // the most there is, if it is out of range
	}
	if at, err := http.ParseTime(value); err == nil {
		return uint32(max(0, min(time.Until(at), 24*time.Hour)) / time.Second)
	}
	return 0
}

// postBody reads a callback's body as its frames arrive, and credits the executor for what was read.
type postBody struct {
	role   *Role
	ctx    context.Context
	id     uint64
	frames *inbox
	rest   []byte
	last   bool
}

func (b *postBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.last {
			return 0, io.EOF
		}
		f, err := b.frames.take(b.ctx)
		if err != nil {
			return 0, err
		}
		b.rest, b.last = f.Payload, f.Last
		b.role.credit(b.id|message.PostFlag, len(f.Payload))
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
