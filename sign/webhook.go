package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"io"
)

// Webhook computes the signature of a message as Standard Webhooks 1.0 defines it: HMAC-SHA256 over
// ID.TIMESTAMP.BODY. The body is written to it.
type Webhook struct{ mac hash.Hash }

// NewWebhook begins the signature of a message under the bytes of key. The id has no dot in it; the
// timestamp is in seconds since 1970, in decimal.
func NewWebhook(key []byte, id, timestamp string) Webhook {
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, id+"."+timestamp+".")
	return Webhook{mac}
}

// Write adds a piece of the body. It never fails.
func (w Webhook) Write(p []byte) (int, error) { return w.mac.Write(p) }

// Signature returns the value of the header webhook-signature, once the whole body was written.
func (w Webhook) Signature() string {
	return "v1," + base64.StdEncoding.EncodeToString(w.mac.Sum(nil))
}
