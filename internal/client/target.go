package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/host"
)

const dialTimeout = 10 * time.Second

// Target is where a Sidecar listens.
type Target struct {
	name   string // as on the command line
	base   string // scheme and host of every request
	socket string // path of a Unix socket, else empty
	roots  *x509.CertPool
	pinned *x509.Certificate // the only one that is trusted; its names are not checked
}

// ErrOtherCertificate means that the server did not show the pinned certificate.
var ErrOtherCertificate = errors.New("its TLS certificate is not that of TLS_CERTIFICATE")

// ParseTarget parses http://HOST:PORT, https://HOST:PORT or unix:/PATH. Without a port it is 8099.
func ParseTarget(text string) (Target, error) {
	if path, found := strings.CutPrefix(text, "unix:"); found {
		return unixTarget(path)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Target{}, errors.New(
			"must be like http://127.0.0.1:8099, https://host:8099 or unix:/run/x.sock",
		)
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Target{}, errors.New(
			"must end after the port: write http://127.0.0.1:8099, without a path, a query or a " +
				"user",
		)
	}
	base := url.URL{Scheme: u.Scheme, Host: HostPort(u)} // it escapes a zone
	return Target{name: u.Scheme + "://" + base.Host, base: base.String()}, nil
}

// defaultPort is that of the first BIND.
const defaultPort = "8099"

// HostPort returns host and port of the URL of a Sidecar. Without a port it is 8099, also with
// https.
func HostPort(u *url.URL) string {
	if u.Port() == "" {
		return strings.TrimSuffix(u.Host, ":") + ":" + defaultPort
	}
	return u.Host
}

func unixTarget(path string) (Target, error) {
	path = strings.TrimPrefix(path, "//") // unix:///run/x.sock is common too
	if !strings.HasPrefix(path, "/") {
		return Target{}, errors.New(
			"must have an absolute path after unix: write unix:/run/x.sock",
		)
	}
	return Target{name: "unix:" + path, base: "http://localhost", socket: path}, nil
}

// TargetOf returns the target for one listening address of this host. With TLS it pins the
// certificate file, which the reader of the configuration can read as well: its names may all be
// other interfaces'.
func TargetOf(settings config.Config, a config.Address) (Target, error) {
	target, err := ParseTarget(urlOf(settings, a))
	if err != nil || !settings.SpeaksTLS(a) {
		return target, err
	}
	leaf, err := settings.LoadLeaf()
	if err != nil {
		return target, err
	}
	return target.WithCertificate(leaf), nil
}

// urlOf returns the URL of a listening address for callers on this host.
func urlOf(settings config.Config, a config.Address) string {
	if a.Network == "unix" {
		return "unix:" + a.Path
	}
	host := a.String()
	switch ip := a.AddrPort.Addr(); {
	case ip.IsUnspecified() && ip.Is4():
		host = fmt.Sprintf("127.0.0.1:%d", a.AddrPort.Port())
	case ip.IsUnspecified():
		host = fmt.Sprintf("[::1]:%d", a.AddrPort.Port())
	}
	if settings.SpeaksTLS(a) {
		return "https://" + host
	}
	return "http://" + host
}

// UsableAddress returns the first address that this host itself can connect to, as docker0 may be
// missing; without one, the first.
func UsableAddress(bind []config.Address) config.Address {
	at := slices.IndexFunc(bind, func(a config.Address) bool {
		ip := a.AddrPort.Addr()
		return a.Network == "unix" || ip.IsLoopback() || ip.IsUnspecified() || host.Assigned(ip)
	})
	return bind[max(at, 0)]
}

// WithRoots makes an https:// target trust the given authorities instead of the host's.
func (t Target) WithRoots(roots *x509.CertPool) Target {
	t.roots = roots
	return t
}

// WithCertificate makes an https:// target trust this certificate only, with any names.
func (t Target) WithCertificate(certificate *x509.Certificate) Target {
	t.pinned = certificate
	return t
}

func (t Target) tlsConfig() *tls.Config {
	config := &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	if t.pinned != nil {
		config.InsecureSkipVerify = true // VerifyConnection is stricter
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if !t.pinned.Equal(state.PeerCertificates[0]) {
				return ErrOtherCertificate
			}
			return nil
		}
	}
	return config
}

// String returns the target as it is written on the command line.
func (t Target) String() string { return t.name }

// transport has no timeout for an answer, as commands take any time. TCP keep-alive detects a dead
// peer.
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
