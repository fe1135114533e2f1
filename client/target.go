package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const dialTimeout = 10 * time.Second

// Target is where a Sidecar listens.
type Target struct {
	name   string // as people write it
	base   string // scheme and host of every request
	socket string // path of a Unix socket, else empty
	roots  *x509.CertPool
	pinned *x509.Certificate // trusted instead of any authority, whatever its names
}

// ErrOtherCertificate means that a pinned certificate is not the one that was shown.
var ErrOtherCertificate = errors.New("it shows another TLS certificate")

// ParseTarget reads http://HOST:PORT, https://HOST:PORT or unix:/PATH.
func ParseTarget(text string) (Target, error) {
	if path, found := strings.CutPrefix(text, "unix:"); found {
		return unixTarget(path)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Target{}, errors.New("must be like http://127.0.0.1:8099, https://host:8099 or unix:/run/x.sock")
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Target{}, errors.New("must end behind the port: write http://127.0.0.1:8099, without a path, a query or a user")
	}
	base := u.Scheme + "://" + u.Host
	return Target{name: base, base: base}, nil
}

func unixTarget(path string) (Target, error) {
	path = strings.TrimPrefix(path, "//") // unix:///run/x.sock is common too
	if !strings.HasPrefix(path, "/") {
		return Target{}, errors.New("must have an absolute path behind unix: write unix:/run/x.sock")
	}
	return Target{name: "unix:" + path, base: "http://localhost", socket: path}, nil
}

// WithRoots makes an https:// target trust the given authorities instead of the host's.
func (t Target) WithRoots(roots *x509.CertPool) Target {
	t.roots = roots
	return t
}

// WithCertificate makes an https:// target trust one certificate alone, under whichever name: for who
// shares a host with the Sidecar and can read its file.
func (t Target) WithCertificate(certificate *x509.Certificate) Target {
	t.pinned = certificate
	return t
}

func (t Target) tlsConfig() *tls.Config {
	config := &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	if t.pinned != nil {
		config.InsecureSkipVerify = true // the comparison below is stricter
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if !t.pinned.Equal(state.PeerCertificates[0]) {
				return ErrOtherCertificate
			}
			return nil
		}
	}
	return config
}

// String is the target as it is written on the command line.
func (t Target) String() string { return t.name }

// transport has no limit for an answer: commands take their time. Whatever is on the other side must only
// show signs of life, which is TCP's keep-alive.
func (t Target) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DisableCompression: true, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: t.tlsConfig(),
	}
	if t.socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", t.socket)
		}
	}
	return transport
}
