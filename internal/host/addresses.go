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
	"strings"

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
	return ipv4Of(*bridge).Addr()
}

// Bridge is a bridge between containers of this host and the host itself.
type Bridge struct {
	Name   string
	Prefix netip.Prefix // the address of the host on it, with the length of the network's prefix
}

// Container returns an address that a container on the bridge could have.
func (b Bridge) Container() netip.Addr {
	if following := b.Prefix.Addr().Next(); b.Prefix.Contains(following) {
		return following
	}
	return b.Prefix.Addr().Prev()
}

// maxBridges bounds how many bridges are looked at.
const maxBridges = 32

// Bridges returns the bridges of Docker that have an IPv4 address: docker0, docker_gwbridge of
// swarms, and br-ID of other networks.
func Bridges() (bridges []Bridge) {
	interfaces, _ := net.Interfaces() // there are none to look at after an error
	for _, one := range interfaces {
		if one.Name != "docker0" && one.Name != "docker_gwbridge" &&
			!strings.HasPrefix(one.Name, "br-") || len(bridges) == maxBridges {
			continue
		}
		if prefix := ipv4Of(one); prefix.IsValid() {
			bridges = append(bridges, Bridge{one.Name, prefix})
		}
	}
	return bridges
}

// ipv4Of returns StockBridge if an interface has it, else its first IPv4 address, else the zero
// Prefix.
func ipv4Of(one net.Interface) (found netip.Prefix) {
	addresses, _ := one.Addrs() // it has gone after an error
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		switch {
		case err != nil || !prefix.Addr().Is4():
		case prefix.Addr().String() == StockBridge:
			return prefix
		case !found.IsValid():
			found = prefix
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
