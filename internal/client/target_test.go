package client

import (
	"net/url"
	"testing"
)

func TestParseTarget_Port(t *testing.T) {
	for text, want := range map[string]string{
		"http://192.0.2.7":        "http://192.0.2.7:8099",
		"http://192.0.2.7/":       "http://192.0.2.7:8099",
		"http://192.0.2.7:":       "http://192.0.2.7:8099",
		"https://sidecar.example": "https://sidecar.example:8099",
		"http://[2001:db8::7]":    "http://[2001:db8::7]:8099",
		"http://192.0.2.7:80":     "http://192.0.2.7:80",
		"https://[::1]:443":       "https://[::1]:443",
		"http://[fe80::1%25eth0]": "http://[fe80::1%eth0]:8099",
		"unix:/run/x.sock":        "unix:/run/x.sock",
	} {
		got, err := ParseTarget(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
		if u, err := url.Parse(got.base + "/shell"); err != nil || got.socket == "" && u.Scheme+"://"+u.Host != want {
			t.Errorf("%s: got requests to %v, %v, want %s", text, u, err, want)
		}
	}
}
