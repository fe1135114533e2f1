package client

import (
	"fmt"
	"slices"

	"dataflux-func-sidecar/certificate"
	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
)

// TargetOf is how a listening address is called from this host. Who reads the configuration can read the
// certificate too, which proves more than its names, and those may all be names of other interfaces.
func TargetOf(settings config.Config, a config.Address) (Target, error) {
	target, err := ParseTarget(urlOf(settings, a))
	if err != nil || !settings.SpeaksTLS(a) {
		return target, err
	}
	leaf, err := certificate.Leaf(settings)
	if err != nil {
		return target, err
	}
	return target.WithCertificate(leaf), nil
}

// UsableAddress is the first that this host itself can connect to: docker0 may not be there.
func UsableAddress(bind []config.Address) config.Address {
	at := slices.IndexFunc(bind, func(a config.Address) bool {
		ip := a.AddrPort.Addr()
		return a.Network == "unix" || ip.IsLoopback() || ip.IsUnspecified() || host.Assigned(ip)
	})
	return bind[max(at, 0)]
}

// urlOf is the URL of a listening address for callers on this host.
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
