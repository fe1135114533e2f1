package main

import (
	"slices"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
)

// firstBind is the BIND of a first installation for which none was given.
func firstBind() []config.Address {
	return host.FollowBridge(config.Default().Bind, host.BridgeAddress())
}

// noteBridge says why the first BIND is not the stock one.
func (c *configuring) noteBridge() {
	if !c.bindGiven && !slices.Equal(c.result.Bind, config.Default().Bind) {
		c.note("docker0 has %s here instead of %s, so BIND names that", host.BridgeAddress(), host.StockBridge)
	}
}

// warnOfBridge tells of a BIND by which containers would not find this host.
func (c *configuring) warnOfBridge() {
	followed := host.FollowBridge(c.result.Bind, host.BridgeAddress())
	if slices.Equal(followed, c.result.Bind) {
		return
	}
	c.note("warning: BIND names %s, but docker0 has %s, and containers look for this host there. To change it, run as root: "+
		"dataflux-func-sidecar configure --bind %s && %s", host.StockBridge, host.BridgeAddress(), config.ShellQuote(config.JoinBind(followed)), config.ApplyBind)
}
