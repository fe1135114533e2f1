package host

import (
	"net"
	"net/netip"
	"slices"

	"dataflux-func-sidecar/config"
)

// StockBridge is the address that Docker gives this host on docker0, its default bridge, unless told otherwise.
const StockBridge = "172.17.0.1"

// BridgeAddress is the IPv4 address of docker0 on this host, under which containers reach it. It is not
// valid where there is none.
func BridgeAddress() netip.Addr {
	bridge, err := net.InterfaceByName("docker0")
	if err != nil {
		return netip.Addr{}
	}
	addresses, err := bridge.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
			return prefix.Addr()
		}
	}
	return netip.Addr{}
}

// FollowBridge puts the address of docker0 in the place of the stock one, unless it is there already.
func FollowBridge(bind []config.Address, bridge netip.Addr) []config.Address {
	followed := slices.Clone(bind)
	for i, address := range bind {
		actual := config.Address{Network: "tcp", AddrPort: netip.AddrPortFrom(bridge, address.AddrPort.Port())}
		if bridge.IsValid() && address.AddrPort.Addr().String() == StockBridge && !slices.Contains(bind, actual) {
			followed[i] = actual
		}
	}
	return followed
}

// Assigned says whether an address is on an interface of this host now.
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
