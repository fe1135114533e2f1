package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.0/8, 172.16.0.0/12":            "127.0.0.0/8,172.16.0.0/12",
		"192.0.2.7":                             "192.0.2.7/32",
		"0.0.0.0/0,::/0,fd00::/8,\t::1":         "0.0.0.0/0,::/0,fd00::/8,::1/128",
		"172.17.0.1/16":                         "network 1 of 1 is an address inside a network: write 172.17.0.0/16 for the network",
		"127.0.0.1,secret":                      "network 2 of 2 must be a network or an IP address",
		"":                                      "network 1 of 1 must be a network or an IP address",
		"127.0.0.1,":                            "network 2 of 2 must be a network or an IP address",
		"fe80::1%eth0":                          "network 1 of 1 must be a network or an IP address",
		"::ffff:127.0.0.1":                      "network 1 of 1 must be a network or an IP address",
		"127.0.0.0/33":                          "network 1 of 1 must be a network or an IP address",
		strings.Repeat("127.0.0.1,", 16) + "::": "lists more than 16 networks",
	} {
		networks, err := parseNetworks(text)
		got := JoinNetworks(networks)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || err == nil && got != want || strings.Contains(got, "secret") {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	c := Config{Callers: []netip.Prefix{netip.MustParsePrefix("fd00::/8")}}
	if !c.PermitsCaller(netip.MustParseAddr("fd00::1")) || c.PermitsCaller(netip.IPv6Loopback()) || !(Config{}).PermitsCaller(netip.IPv6Loopback()) {
		t.Error("PermitsCaller does not follow the networks")
	}
}
