package client

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/sign"
)

// Key signs requests: with a secret, or with the private key of an HTTP message signature.
type Key struct {
	Secret  config.Key
	Private ed25519.PrivateKey // nil: there is a secret
}

// Header is a header of a signed request.
type Header struct{ Name, Value string }

// Sign returns the headers that sign a request to the URL, whose path is sent as it is escaped. The
// header Host must be Authority of the URL.
func (k Key) Sign(method string, u *url.URL, body []byte, now time.Time) []Header {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	nonce, path := hex.EncodeToString(random[:]), u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if k.Private != nil {
		m := sign.Message{Method: method, Authority: Authority(u), Path: path, Body: body}
		sign.SignMessage(k.Private, &m, now, nonce)
		headers := []Header{{"Signature-Input", m.Input}, {"Signature", m.Signature}}
		if m.Digest != "" {
			headers = append(headers, Header{"Content-Digest", m.Digest})
		}
		return headers
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	return []Header{
		{"X-Auth-Nonce", nonce},
		{"X-Auth-Timestamp", timestamp},
		{"X-Auth-Signature", sign.Signature(k.Secret, sign.Request{
			Method: method, Path: path, Nonce: nonce, Timestamp: timestamp, Body: body,
		})},
	}
}

// Authority returns host and port of a URL as they are signed: in lower case, without the default
// port of the scheme and the zone of an address.
func Authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if zone := strings.IndexByte(host, '%'); zone >= 0 { // only within brackets
		host = host[:zone] + host[strings.IndexByte(host, ']'):]
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return strings.TrimSuffix(host, port)
}

// pemStart is in no secret, which has one line.
const pemStart = "-----BEGIN "

// ParseKey reads a secret, or an Ed25519 private key in PEM (PKCS#8). Its errors never repeat text.
func ParseKey(text []byte) (Key, error) {
	if !bytes.Contains(text, []byte(pemStart)) {
		line := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
		secret, err := config.ParseKey(string(line))
		return Key{Secret: secret}, err
	}
	const how = "make one with `dataflux-func-sidecar keys new FILE`"
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return Key{}, errors.New("is damaged: it looks like a private key in PEM and is none")
	case len(bytes.TrimSpace(rest)) > 0:
		return Key{}, errors.New("holds more than the one private key")
	case strings.Contains(block.Type, "ENCRYPTED"):
		return Key{}, errors.New("is encrypted, which is not supported: " + how)
	case block.Type != "PRIVATE KEY":
		return Key{}, errors.New("is no private key in PEM as PKCS#8 (BEGIN PRIVATE KEY): " + how)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, isEd25519 := parsed.(ed25519.PrivateKey)
	if err != nil || !isEd25519 {
		return Key{}, errors.New("is no Ed25519 private key: " + how)
	}
	return Key{Private: private}, nil
}

// NewPrivateKey returns a fresh private key in PEM (PKCS#8), and its public key as PUBLIC_KEYS has
// it.
func NewPrivateKey() (text []byte, public string, err error) {
	key, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: encoded}
	return pem.EncodeToMemory(block), sign.KeyID(key), nil
}
