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

func TestParseHosts(t *testing.T) {
	const wrong = "host 1 of 1 must be a name or an IP address"
	for text, want := range map[string]string{
		"Web1.Example.com, 192.0.2.7:8099,[fd00::7],[fd00::7]:1": "web1.example.com,192.0.2.7:8099,[fd00::7],[fd00::7]:1",
		"localhost":              "localhost",
		"":                       wrong,
		"a,":                     "host 2 of 2 must be",
		"http://a":               wrong,
		"a/b":                    wrong,
		"a b":                    wrong,
		"a:":                     wrong,
		"a:0":                    wrong,
		"a:080":                  wrong,
		"a:65536":                wrong,
		":80":                    wrong,
		"fd00::7":                wrong,
		"[fd00:0::7]":            wrong,
		"[fe80::1%eth0]":         wrong,
		"[192.0.2.7]":            wrong,
		"bücher.example":         wrong,
		"*.example.com":          wrong,
		strings.Repeat("a", 254): wrong,
		strings.Repeat("a,", 64): "lists more than 64 hosts",
	} {
		hosts, err := parseHosts(text)
		got := strings.Join(hosts, ",")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || want == wrong && err == nil {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
