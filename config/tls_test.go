package config

import (
	"strings"
	"testing"
)

const pemLines = keyLine + "TLS_CERTIFICATE = \"/c\"\nTLS_KEY = \"/k\"\n"

func TestAnAddressSpeaksTLSWhereTheConfigurationSaysSo(t *testing.T) {
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

func TestTLSKeysThatDoNotFitTogetherAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		keyLine + `TLS_CERTIFICATE = "/c"`:                 "line 2, column 1: TLS_CERTIFICATE is of no use without its key",
		keyLine + `TLS_KEY = "/k"`:                         "TLS_KEY is of no use without its certificate",
		keyLine + `TLS_ADDRESSES = "127.0.0.1:8099"`:       "TLS_ADDRESSES needs a certificate",
		keyLine + `TLS_CERTIFICATE = "c"`:                  "TLS_CERTIFICATE must be an absolute path in double quotes",
		keyLine + `TLS_ADDRESSES = 1`:                      "TLS_ADDRESSES must be one text in double quotes",
		pemLines + `TLS_ADDRESSES = "127.0.0.1:8098"`:      "TLS_ADDRESSES has 127.0.0.1:8098, which is no address of BIND",
		pemLines + `TLS_ADDRESSES = "/run/s"`:              "TLS_ADDRESSES has the Unix socket /run/s, which never speaks TLS",
		pemLines + `TLS_ADDRESSES = "example.org:8099"`:    "TLS_ADDRESSES address 1 of 1 has no valid IP address",
		pemLines + `TLS_ADDRESSES = "127.0.0.1:8099,,"`:    "TLS_ADDRESSES address 2 of 3 is empty",
		pemLines + "TLS_CERTIFICATES = \"/etc/ssl/c.pem\"": "did you mean TLS_CERTIFICATE?",
	} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant  %s", text, err, want)
		}
	}
}
