// Package sign proves that a request comes from a holder of the key and was not seen before:
// canonical string, HMAC-SHA1 or Ed25519, time window, nonces.
//
//	sign.go, verify.go  requests of the stock client, and Verifier
//	message.go          HTTP message signatures (RFC 9421) with Ed25519
//	public.go           public keys
//	keyring.go          the keys that are accepted now
//	nonce.go            what was used up
//	webhook.go          signatures of callbacks
//
// It must never decode a body, touch the network, run anything, or let a key or an expected
// signature into an error. The scheme is that of docs/protocol.md; testdata/vectors.json has
// signatures of the stock client.
package sign

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"io"
	"strings"
)

// Request is what a signature covers, as it was sent: the path is not decoded and has no query, the
// timestamp is decimal text, the body is raw bytes.
type Request struct {
	Method    string
	Path      string
	Nonce     string
	Timestamp string
	Body      []byte
}

// Signature returns the value of X-Auth-Signature for r under key: HMAC-SHA1 over
// METHOD\nPATH\nNONCE\nTIMESTAMP\nBODY, as 40 upper-case hex digits.
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

// SignatureOf is Signature for a body that writeBody produces piece by piece, so that a body of
// many megabytes is never in memory as a whole. It returns the error of writeBody.
func SignatureOf(key []byte, r Request, writeBody func(io.Writer) error) (string, error) {
	mac := hmac.New(sha1.New, key)
	r.writeHead(mac)
	if err := writeBody(mac); err != nil {
		return "", err
	}
	return strings.ToUpper(hex.EncodeToString(mac.Sum(nil))), nil
}
