package check

import (
	"crypto/x509"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

// renewalTime is the rest of its validity in which a certificate should have been renewed:
// automatic renewal happens 30 days before the end.
const renewalTime = 21 * 24 * time.Hour

// checkTLS finds a TLS pair that keeps the service from starting, or that callers refuse.
func checkTLS(c *checker) []Finding {
	if c.settings.TLSCertificate == "" {
		return nil
	}
	pair, err := c.settings.LoadTLS()
	if err != nil {
		return failures(err)
	}
	found := []Finding{
		ok("TLS_KEY is the key of TLS_CERTIFICATE, and only its owner can read it"),
		c.checkValidity(pair, time.Now()),
	}
	return append(found, checkNames(pair.Leaf, c.settings)...)
}

func (c *checker) checkValidity(pair config.TLSPair, now time.Time) Finding {
	if err := pair.Validity(now); err != nil {
		return failure("the TLS certificate %v: callers refuse it: %s", err, c.renewal())
	}
	left := pair.Leaf.NotAfter.Sub(now)
	if left < renewalTime {
		return warning("the TLS certificate expires in %d days: %s", int(left.Hours()/24),
			c.renewal())
	}
	return ok("the TLS certificate is valid for %d more days", int(left.Hours()/24))
}

// renewal is what brings a renewed certificate into force.
func (c *checker) renewal() string {
	if c.UnitDir != "" {
		return "renew it, then run " + units.Reload
	}
	return "renew it, then reload the daemon"
}

// checkNames finds addresses of BIND that the certificate is not for. If it has DNS names, callers
// may use those.
func checkNames(leaf *x509.Certificate, settings config.Config) (found []Finding) {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []Finding{failure("the TLS certificate has no subjectAltName, so callers refuse " +
			"it for every host: have it made for the name or address that DataFlux Func uses")}
	}
	found = append(found, ok("the TLS certificate is for %s", strings.Join(names, ", ")))
	for _, a := range settings.Bind {
		ip := a.AddrPort.Addr()
		exempt := !settings.SpeaksTLS(a) || ip.IsUnspecified() || ip.IsLoopback() ||
			len(leaf.DNSNames) > 0
		if !exempt && leaf.VerifyHostname(ip.String()) != nil {
			found = append(found, warning("the TLS certificate is not for BIND address %s: "+
				"callers who use that address refuse it", a))
		}
	}
	return found
}
