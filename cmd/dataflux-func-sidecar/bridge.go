package main

import (
	"net"
	"net/netip"
	"slices"

	"dataflux-func-sidecar/config"
)

// stockBridge is the address that Docker gives this host on docker0, its default bridge, unless told otherwise.
const stockBridge = "172.17.0.1"

// bridgeAddress is the IPv4 address of docker0 on this host, under which containers reach it. It is not
// valid where there is none.
func bridgeAddress() netip.Addr {
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

// followBridge puts the address of docker0 in the place of the stock one, unless it is there already.
func followBridge(bind []config.Address, bridge netip.Addr) []config.Address {
	followed := slices.Clone(bind)
	for i, address := range bind {
		actual := tcpAddress(bridge, int(address.AddrPort.Port()))
		if bridge.IsValid() && address.AddrPort.Addr().String() == stockBridge && !slices.Contains(bind, actual) {
			followed[i] = actual
		}
	}
	return followed
}

// firstBind is the BIND of a first installation for which none was given.
func firstBind() []config.Address {
	return followBridge(config.Default().Bind, bridgeAddress())
}

// noteBridge says why the first BIND is not the stock one.
func (c *configuring) noteBridge() {
	if !c.bindGiven && !slices.Equal(c.result.Bind, config.Default().Bind) {
		c.note("docker0 has %s here instead of %s, so BIND names that", bridgeAddress(), stockBridge)
	}
}

// warnOfBridge tells of a BIND by which containers would not find this host.
func (c *configuring) warnOfBridge() {
	followed := followBridge(c.result.Bind, bridgeAddress())
	if slices.Equal(followed, c.result.Bind) {
		return
	}
	c.note("warning: BIND names %s, but docker0 has %s, and containers look for this host there. To change it, run as root: "+
		"dataflux-func-sidecar configure --bind %s && %s", stockBridge, bridgeAddress(), config.JoinBind(followed), config.ApplyBind)
}
