package doctor

import (
	"crypto/x509"
	"net"
	"strings"
	"time"

	"dataflux-func-sidecar/certificate"
	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/units"
)

// renewalTime is how long before its end a certificate should have been renewed: authorities that renew by
// themselves do so 30 days before.
const renewalTime = 21 * 24 * time.Hour

// checkTLS finds what keeps the service from starting, or callers from trusting it.
func checkTLS(p *patient) []Finding {
	if p.settings.TLSCertificate == "" {
		return nil
	}
	pair, err := certificate.Load(p.settings)
	if err != nil {
		return failures(err)
	}
	found := []Finding{well("TLS_KEY is the key of TLS_CERTIFICATE, and only its owner can read it"), timely(pair, time.Now())}
	return append(found, checkNames(pair.Leaf, p.settings)...)
}

func timely(pair certificate.Pair, now time.Time) Finding {
	if wrong := pair.Untimely(now); wrong != "" {
		return failed("the TLS certificate %s: callers refuse it: renew it, then run %s", wrong, units.Restart)
	}
	left := pair.Leaf.NotAfter.Sub(now)
	if left < renewalTime {
		return unwise("the TLS certificate expires in %d days: renew it, then run %s", int(left.Hours()/24), units.Restart)
	}
	return well("the TLS certificate is valid for %d more days", int(left.Hours()/24))
}

// checkNames finds addresses that the certificate is not for. With names in it, callers may well use those.
func checkNames(leaf *x509.Certificate, settings config.Config) (found []Finding) {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []Finding{failed("the TLS certificate has no subjectAltName, so callers take it for no host: have it made for the name or address that DataFlux Func uses")}
	}
	found = append(found, well("the TLS certificate is for %s", strings.Join(names, ", ")))
	for _, a := range settings.Bind {
		ip := a.AddrPort.Addr()
		if !settings.SpeaksTLS(a) || ip.IsUnspecified() || ip.IsLoopback() || len(leaf.DNSNames) > 0 || covers(leaf, ip.AsSlice()) {
			continue
		}
		found = append(found, unwise("the TLS certificate is not for BIND address %s: callers who use that address refuse it", a))
	}
	return found
}

func covers(leaf *x509.Certificate, ip net.IP) bool { return leaf.VerifyHostname(ip.String()) == nil }
