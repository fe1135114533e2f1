package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dataflux-func-sidecar/internal/policy"
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

// maxHosts bounds SIGNED_HOSTS.
const maxHosts = 64

// parseHosts reads hosts separated by commas, in lower case. Its errors never repeat s.
func parseHosts(s string) (hosts []string, err error) {
	entries := strings.Split(s, ",")
	if len(entries) > maxHosts {
		return nil, fmt.Errorf("lists more than %d hosts: write fewer", maxHosts)
	}
	for i, entry := range entries {
		entry = strings.ToLower(strings.Trim(entry, " \t"))
		if !isHost(entry) {
			return nil, fmt.Errorf("host %d of %d must be a name or an IP address, and its port "+
				"if only that one is meant: write for example web1.example.com, 192.0.2.7:8099 or "+
				"[fd00::7]:8099", i+1, len(entries))
		}
		hosts = append(hosts, entry)
	}
	return hosts, nil
}

// maxHostName bounds the name of a host, in bytes.
const maxHostName = 253

func isHost(entry string) bool {
	name, port := policy.SplitAuthority(entry)
	if len(name) < len(entry) {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return false
		}
	}
	if inner, bracketed := strings.CutPrefix(name, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		return closed && err == nil && ip.Is6() && ip.Zone() == "" && ip.String() == inner
	}
	return name != "" && len(name) <= maxHostName &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}
