package config

import (
	"fmt"
	"slices"
)

// SpeaksTLS says whether callers at an address are to use https. Unix sockets never do: what passes
// through one stays on this host.
func (c Config) SpeaksTLS(a Address) bool {
	if c.TLSCertificate == "" || a.Network != "tcp" {
		return false
	}
	return len(c.TLSAddresses) == 0 || slices.Contains(c.TLSAddresses, a)
}

// tlsFindings are what is wrong with keys that are each fine for themselves.
func (d document) tlsFindings(c *Config) (findings []error) {
	complain := func(name, format string, args ...any) {
		findings = append(findings, d.errorAt(name, fmt.Errorf(name+" "+format, args...)))
	}
	switch {
	case c.TLSCertificate != "" && c.TLSKey == "":
		complain("TLS_CERTIFICATE", "is of no use without its key: write TLS_KEY as well, the path of the private key")
	case c.TLSCertificate == "" && c.TLSKey != "":
		complain("TLS_KEY", "is of no use without its certificate: write TLS_CERTIFICATE as well, the path of the certificate")
	case c.TLSCertificate == "" && len(c.TLSAddresses) > 0:
		complain("TLS_ADDRESSES", "needs a certificate: write TLS_CERTIFICATE and TLS_KEY as well")
	}
	for _, a := range c.TLSAddresses {
		switch {
		case a.Network == "unix":
			complain("TLS_ADDRESSES", "has the Unix socket %s, which never speaks TLS: leave it out", a)
		case !slices.Contains(c.Bind, a):
			complain("TLS_ADDRESSES", "has %s, which is no address of BIND: write it as it is there, or add it there", a)
		}
	}
	return findings
}
