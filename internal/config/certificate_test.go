package config

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

const pemLines = keyLine + "TLS_CERTIFICATE = \"/c\"\nTLS_KEY = \"/k\"\n"

func TestSpeaksTLS(t *testing.T) {
	const bindLine = "BIND = \"127.0.0.1:1,[::1]:2,/run/s\"\n"
	for text, want := range map[string]string{
		keyLine + bindLine:                                   "",
		pemLines + bindLine:                                  "127.0.0.1:1,[::1]:2",
		pemLines + bindLine + "TLS_ADDRESSES = \"\"":         "127.0.0.1:1,[::1]:2",
		pemLines + bindLine + "TLS_ADDRESSES = \" [::1]:2\"": "[::1]:2",
	} {
		c := mustParse(t, text)
		var speak []Address
		for _, a := range c.Bind {
			if c.SpeaksTLS(a) {
				speak = append(speak, a)
			}
		}
		if got := JoinBind(speak); got != want {
			t.Errorf("%q speak TLS, want %q, with\n%s", got, want, text)
		}
	}
}

func TestParse_TLSKeysTogether(t *testing.T) {
	for text, want := range map[string]string{
		keyLine + `TLS_CERTIFICATE = "/c"`: "line 2, column 1: TLS_CERTIFICATE is of no use " +
			"without its key",
		keyLine +
			`TLS_KEY = "/k"`: "TLS_KEY is of no use without its certificate",
		keyLine + `TLS_ADDRESSES = "127.0.0.1:8099"`: "TLS_ADDRESSES needs a certificate",
		keyLine + `TLS_CERTIFICATE = "c"`: "TLS_CERTIFICATE must be an absolute path in double " +
			"quotes",
		keyLine + `TLS_ADDRESSES = 1`: "TLS_ADDRESSES must be one text in double quotes",
		pemLines + `TLS_ADDRESSES = "127.0.0.1:8098"`: "TLS_ADDRESSES has 127.0.0.1:8098, which " +
			"is no address of BIND",
		pemLines + `TLS_ADDRESSES = "/run/s"`: "TLS_ADDRESSES has the Unix socket /run/s, which " +
			"never speaks TLS",
		pemLines + `TLS_ADDRESSES = "example.org:8099"`: "TLS_ADDRESSES address 1 of 1 must be " +
			"an IP address",
		pemLines + `TLS_ADDRESSES = "127.0.0.1:8099,,"`: "TLS_ADDRESSES address 2 of 3 must be " +
			"an IP address",
		pemLines + "TLS_CERTIFICATES = \"/etc/ssl/c.pem\"": "did you mean TLS_CERTIFICATE?",
	} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestTLSPair_Validity(t *testing.T) {
	from, until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 4, 0, 0, 0, 0,
		time.UTC)
	pair := TLSPair{Leaf: &x509.Certificate{NotBefore: from, NotAfter: until}}
	for now, want := range map[time.Time]string{
		from.Add(-time.Second): "is not valid before 2026-01-02",
		from:                   "",
		until:                  "",
		until.Add(time.Second): "has expired on 2026-03-04",
	} {
		got := ""
		if err := pair.Validity(now); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("at %s: %q, want %q", now, got, want)
		}
	}
}
