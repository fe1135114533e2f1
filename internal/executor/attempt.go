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

// attempt makes one attempt as soon as its URL and its host have a slot and a network role accepts,
// or goes on with the one that is under way since before a reload, which needs no slot.
func (v *deliverer) attempt(d *delivery) (message.Outcome, error) {
	if d.post == nil {
		release, err := v.awaitSlots(d)
		if err != nil {
			return message.Outcome{}, err
		}
		defer release()
		if err := v.startPost(d); err != nil {
			return message.Outcome{}, err
		}
	}
	outcome, err := d.post.await(d.context, v.gate)
	d.post = nil
	if errors.Is(err, context.Canceled) {
		err = errStopping
	}
	return outcome, err
}

// startPost waits outside of the gate for a network role, and begins an attempt there.
func (v *deliverer) startPost(d *delivery) error {
	v.gate.Leave()
	channel, err := v.channels.wait(d.context)
	v.gate.Enter()
	if err != nil {
		return errStopping
	}
	d.mu.Lock()
	d.attempts++
	d.mu.Unlock()
	report := d.report
	if d.short {
		report, _ = report.shortened()
	}
	callback, err := newCallback(d, report, v.keys[d.key])
	if err != nil {
		return err
	}
	d.post, err = channel.startPost(v.gate, callback, report.writeBody)
	return err
}

// awaitSlots waits for the slots of an attempt, outside of the gate, until the delivery expires; a
// first attempt waits for as long as it takes. Free slots are used even if the time is up, as the
// last attempt is made then.
func (v *deliverer) awaitSlots(d *delivery) (release func(), err error) {
	var late <-chan time.Time
	if d.attempts > 0 {
		late = time.After(time.Until(d.expires))
	}
	leaveURL, err := v.functions.enter(d.context, d.function(), late, v.gate)
	if err != nil {
		return nil, err
	}
	leaveHost, err := v.hosts.enter(d.context, d.host(), late, v.gate)
	if err != nil {
		leaveURL()
		return nil, err
	}
	return func() { leaveHost(); leaveURL() }, nil
}

// newCallback signs one attempt to deliver r, in our own form and in that of Standard Webhooks.
// Each has a fresh timestamp and nonce, or the receiver would refuse it as a replay. The body is
// written once for its length and signatures and again when it is sent, so that it is never held as
// a whole. An attempt for a job whose key was removed has no signature: key is nil.
func newCallback(d *delivery, r report, key []byte) (message.Callback, error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand never fails: it ends the process instead
	request := sign.Request{
		Method: "POST", Path: signedPath(d.url),
		Nonce: hex.EncodeToString(nonce[:]), Timestamp: fmt.Sprint(time.Now().Unix()),
	}
	var length byteCounter
	webhook := sign.NewWebhook(key, d.address(), request.Timestamp)
	signature, err := sign.SignatureOf(key, request, func(w io.Writer) error {
		return r.writeBody(io.MultiWriter(w, webhook, &length))
	})
	if err != nil {
		return message.Callback{}, fmt.Errorf("cannot sign the callback: %w", err)
	}
	headers := []string{
		"Content-Type", jsonType,
		"X-Sidecar-Job-Id", d.id,
		"X-Sidecar-Key", d.key,
		"X-Sidecar-Attempt", fmt.Sprint(d.attempts),
	}
	if key != nil {
		headers = append(headers,
			"X-Auth-Nonce", request.Nonce,
			"X-Auth-Timestamp", request.Timestamp,
			"X-Auth-Signature", signature,
			"Webhook-Id", d.address(),
			"Webhook-Timestamp", request.Timestamp,
			"Webhook-Signature", webhook.Signature(),
		)
	}
	headers = append(headers, r.headers...)
	return message.Callback{
		URL: d.url.String(), Headers: headers, Length: int64(length),
		Resolver: resolverLines(resolverFile),
	}, nil
}

// signedPath is the path as net/http sends it, without the query.
func signedPath(u *url.URL) string {
	if path := u.EscapedPath(); path != "" {
		return path
	}
	return "/"
}

type byteCounter int64

func (c *byteCounter) Write(p []byte) (int, error) {
	*c += byteCounter(len(p))
	return len(p), nil
}
