package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/host"
)

// checkFutureBind refuses a BIND that could not be applied, before anything is written.
func checkFutureBind(path, bind string, bindGiven bool) error {
	addresses, err := futureBind(path, bind, bindGiven)
	if err != nil {
		return err
	}
	return checkApply(addresses)
}

func (c *configurer) amendBind(data []byte) ([]byte, error) {
	c.bindNote = "kept"
	if !c.bindGiven {
		return data, nil
	}
	set, err := config.Has(c.path, data, "BIND")
	if err != nil {
		return nil, err
	}
	if old, err := config.Parse(c.path, data); err == nil && set && slices.Equal(old.Bind, c.bind) {
		return data, nil
	}
	c.bindNote = "set"
	return config.Set(c.path, data, "BIND", config.JoinBind(c.bind))
}

// firstBind is BIND of a first installation without --bind. It is an error if containers may look
// for this host under either of two addresses.
func firstBind() ([]config.Address, error) {
	bind, bridge := config.Default().Bind, host.BridgeAddress()
	followed := host.FollowBridge(bind, bridge)
	if !slices.Equal(followed, bind) && host.Assigned(stockBridge()) {
		return nil, fmt.Errorf("docker0 has %s, and another interface has %s: containers may look "+
			"for this host under either; hint: name the addresses, such as --bind %s, or --bind "+
			"%s for both", bridge, host.StockBridge, config.JoinBind(followed),
			config.JoinBind(append(followed, bind[1:]...)))
	}
	return followed, nil
}

func stockBridge() netip.Addr { return netip.MustParseAddr(host.StockBridge) }

// warnOfAbsent warns of addresses of --bind that this host does not have.
func (c *configurer) warnOfAbsent() {
	for _, address := range c.bind {
		ip := address.AddrPort.Addr()
		if address.Network == "unix" || ip.IsUnspecified() || ip.IsLoopback() && ip.Is4() ||
			host.Assigned(ip) {
			continue
		}
		c.warn("no interface of this host has %s now, and nothing can call it at %s "+
			"until one has. That is normal for docker0 before Docker runs, else correct --bind",
			ip, address)
	}
}

// warnOfBridge warns of a BIND in which containers do not find this host.
func (c *configurer) warnOfBridge() {
	followed := host.FollowBridge(c.result.Bind, host.BridgeAddress())
	if slices.Equal(followed, c.result.Bind) || host.Assigned(stockBridge()) {
		return // or the address is meant, which another interface has
	}
	c.warn("BIND names %s, but docker0 has %s, and containers look for this host there. "+
		"To change it, run as root: %s --bind %s",
		host.StockBridge, host.BridgeAddress(), config.Apply,
		config.ShellQuote(config.JoinBind(followed)))
}

// futureBind is the BIND that configure would write.
func futureBind(path, bind string, bindGiven bool) ([]config.Address, error) {
	if bindGiven {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			return nil, fmt.Errorf("--bind: %w", err)
		}
		return addresses, nil
	}
	data, _, err := config.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return firstBind()
	}
	if err != nil {
		return nil, err
	}
	c := configurer{configureOptions: configureOptions{path: path}, out: io.Discard}
	if data, err = c.convertOriginal(data); err == nil {
		_, err = c.amend(data)
	}
	if err != nil {
		return nil, err
	}
	return c.result.Bind, nil
}
