// Package host looks at the machine that it runs on: its addresses, the sockets on them, and the
// processes that have those.
//
// It changes nothing and connects to nothing. Only CheckFree listens, for a moment, to find out
// whether an address is free.
package host

import (
	"net"
	"net/netip"
	"slices"

	"dataflux-func-sidecar/internal/config"
)

// StockBridge is the address of this host on docker0, Docker's default bridge, unless it is
// configured otherwise.
const StockBridge = "172.17.0.1"

// BridgeAddress returns the IPv4 address of docker0, under which containers reach this host; of
// several, StockBridge if it is among them. It is the zero Addr if there is none.
func BridgeAddress() netip.Addr {
	bridge, err := net.InterfaceByName("docker0")
	if err != nil {
		return netip.Addr{}
	}
	addresses, err := bridge.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	var found netip.Addr
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		switch {
		case err != nil || !prefix.Addr().Is4():
		case prefix.Addr().String() == StockBridge:
			return prefix.Addr()
		case !found.IsValid():
			found = prefix.Addr()
		}
	}
	return found
}

// FollowBridge replaces the stock address by that of docker0, unless bind already has that.
func FollowBridge(bind []config.Address, bridge netip.Addr) []config.Address {
	followed := slices.Clone(bind)
	for i, address := range bind {
		actual := config.Address{Network: "tcp", AddrPort: netip.AddrPortFrom(bridge,
			address.AddrPort.Port())}
		if bridge.IsValid() && address.AddrPort.Addr().String() == StockBridge &&
			!slices.Contains(bind, actual) {
			followed[i] = actual
		}
	}
	return followed
}

// Assigned reports whether an address is on an interface of this host now.
func Assigned(ip netip.Addr) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}
