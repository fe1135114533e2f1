// Package sign proves that a request comes from a holder of the key and has not been seen before.
//
// It knows the canonical string, HMAC-SHA1, the time window and the nonces; it must never decode a
// body, touch the network, run anything, or let a key or an expected signature into an error.
package sign

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"io"
	"strings"
)

// Request is what a signature covers. Path is the path as sent, without the query; Timestamp is the
// decimal text as sent; Body is the raw bytes as sent.
type Request struct {
	Method    string
	Path      string
	Nonce     string
	Timestamp string
	Body      []byte
}

// Signature returns the value of X-Auth-Signature for r under key: HMAC-SHA1 over
// METHOD\nPATH\nNONCE\nTIMESTAMP\nBODY in upper-case hex (source: PROTOCOL.md).
func Signature(key []byte, r Request) string {
	return strings.ToUpper(hex.EncodeToString(r.mac(key)))
}

func (r Request) mac(key []byte) []byte {
	mac := hmac.New(sha1.New, key)
	r.writeHead(mac)
	mac.Write(r.Body)
	return mac.Sum(nil)
}

func (r Request) writeHead(w io.Writer) {
	_, _ = io.WriteString(w, r.Method+"\n"+r.Path+"\n"+r.Nonce+"\n"+r.Timestamp+"\n")
}

// SignatureOf is Signature for a body that writeBody produces piece by piece, so that a body of many
// megabytes is never held in one piece. It returns the error of writeBody.
func SignatureOf(key []byte, r Request, writeBody func(io.Writer) error) (string, error) {
	mac := hmac.New(sha1.New, key)
	r.writeHead(mac)
	if err := writeBody(mac); err != nil {
		return "", err
	}
	return strings.ToUpper(hex.EncodeToString(mac.Sum(nil))), nil
}
