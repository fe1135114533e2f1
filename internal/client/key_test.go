package client

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/sign"
)

func TestParseKey(t *testing.T) {
	text, public, err := NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	elliptical, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := x509.MarshalPKCS8PrivateKey(elliptical)
	block := func(kind string, data []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
	}
	const canary = "Kanarienvogel-4711-geheim"
	for name, c := range map[string]struct {
		text []byte
		want string // in the error; empty: it is a private key
	}{
		"private key":      {text, ""},
		"CRLF":             {[]byte(strings.ReplaceAll(string(text), "\n", "\r\n")), ""},
		"blank line first": {append([]byte("\n"), text...), ""},
		"two keys":         {append(text[:len(text):len(text)], text...), "more than the one private key"},
		"cut":              {text[:60], "is damaged"},
		"OpenSSH":          {block("OPENSSH PRIVATE KEY", []byte(canary)), "no private key in PEM as PKCS#8"},
		"encrypted":        {block("ENCRYPTED PRIVATE KEY", []byte(canary)), "is encrypted"},
		"public key":       {block("PUBLIC KEY", []byte(canary)), "no private key in PEM as PKCS#8"},
		"another curve":    {block("PRIVATE KEY", other), "no Ed25519 private key"},
		"no key":           {block("PRIVATE KEY", []byte(canary)), "no Ed25519 private key"},
		"secret, 2 lines":  {[]byte(canary + "\n" + canary), "line break"},
	} {
		key, err := ParseKey(c.text)
		if c.want == "" && (err != nil || sign.KeyID(key.Private.Public().(ed25519.PublicKey)) != public || key.Secret != nil) {
			t.Errorf("%s: got %v, want the private key", name, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if key, err := ParseKey([]byte(canary + "\r\n")); err != nil || string(key.Secret) != canary || key.Private != nil {
		t.Errorf("got %v, want the secret of the one line", err)
	}
}

// What Sign writes is what a host with that authority accepts.
func TestKey_Sign(t *testing.T) {
	text, public, err := NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := sign.ParsePublicKey(public)
	for address, authority := range map[string]string{
		"http://Web1.example.com:8099/jobs/a%2Fb": "web1.example.com:8099",
		"http://192.0.2.7:80":                     "192.0.2.7",
		"http://192.0.2.7:443/":                   "192.0.2.7:443",
		"https://[fd00::1]:443/jobs":              "[fd00::1]",
		"https://[fd00::1]:80/jobs":               "[fd00::1]:80",
		"http://localhost/jobs":                   "localhost",
		"http://[FE80::1%25eth0]:80/jobs":         "[fe80::1]",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := Authority(u); got != authority {
			t.Errorf("%s: got the authority %s, want %s", address, got, authority)
		}
		for _, body := range []string{"", "{}"} {
			m := sign.Message{Method: "POST", Authority: authority, Path: u.EscapedPath(), Body: []byte(body)}
			if m.Path == "" {
				m.Path = "/"
			}
			for _, h := range key.Sign("POST", u, []byte(body), time.Now()) {
				switch h.Name {
				case "Signature-Input":
					m.Input = h.Value
				case "Signature":
					m.Signature = h.Value
				case "Content-Digest":
					m.Digest = h.Value
				}
			}
			v, err := sign.NewVerifier([]sign.Key{{Name: "a", Public: parsed}}, time.Minute, time.Now,
				sign.NewNonceCache(time.Minute, 10, time.Now, nil))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := v.VerifyMessage(m, func(a string) bool { return a == authority }, nil); err != nil {
				t.Errorf("%s, body %q: got %v, want it to be accepted", address, body, err)
			}
		}
	}
}
