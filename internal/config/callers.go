package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxNetworks bounds CALLERS. Its text must fit into Limits of privsep/message.
const maxNetworks = 16

// parseNetworks reads networks and single addresses separated by commas. Its errors never repeat s.
func parseNetworks(s string) (networks []netip.Prefix, err error) {
	entries := strings.Split(s, ",")
	if len(entries) > maxNetworks {
		return nil, fmt.Errorf("lists more than %d networks: write fewer", maxNetworks)
	}
	for i, entry := range entries {
		network, err := parseNetwork(strings.Trim(entry, " \t"))
		if err != nil {
			return nil, fmt.Errorf("network %d of %d %w", i+1, len(entries), err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// JoinNetworks is the reverse of parseNetworks.
func JoinNetworks(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return strings.Join(texts, ",")
}

func parseNetwork(entry string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(entry); err == nil && ip.Zone() == "" {
		entry = fmt.Sprintf("%s/%d", ip, ip.BitLen())
	}
	network, err := netip.ParsePrefix(entry)
	switch {
	case err != nil || network.Addr().Is4In6():
		return network, errors.New("must be a network or an IP address: write for example " +
			"172.17.0.0/16, fd00::/8 or 192.0.2.7")
	case network != network.Masked():
		return network, fmt.Errorf("is an address inside a network: write %s for the network",
			network.Masked())
	}
	return network, nil
}

// PermitsCaller reports whether a host with this address may connect to the TCP addresses of BIND.
func (c Config) PermitsCaller(ip netip.Addr) bool {
	return len(c.Callers) == 0 ||
		slices.ContainsFunc(c.Callers, func(n netip.Prefix) bool { return n.Contains(ip) })
}
