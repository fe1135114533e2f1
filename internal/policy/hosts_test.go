package policy

import (
	"net/netip"
	"testing"
)

func TestHosts_Accepts(t *testing.T) {
	bound := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:8099"), netip.MustParseAddrPort("192.0.2.7:8099"),
		netip.MustParseAddrPort("[::]:9000"), netip.MustParseAddrPort("0.0.0.0:80"),
	}
	own := NewHosts(nil, bound, "Web1.Example.com")
	listed := NewHosts([]string{"api.example.com", "gateway:8101", "[fd00::7]:8099"}, bound, "web1")
	for _, c := range []struct {
		hosts            Hosts
		authority, local string
		want             bool
	}{
		{own, "192.0.2.7:8099", "192.0.2.7:8099", true},
		{own, "192.0.2.8:8099", "192.0.2.7:8099", false},
		{own, "192.0.2.7:8098", "192.0.2.7:8099", false},
		{own, "192.0.2.7", "192.0.2.7:8099", false},
		{own, "192.0.2.8:8099", "192.0.2.8:8099", false}, // the network role lies
		{own, "192.0.2.8:80", "192.0.2.8:80", true},      // bound to all addresses
		{own, "192.0.2.8", "192.0.2.8:80", true},
		{own, "192.0.2.8:", "192.0.2.8:80", false},
		{own, "[fd00::7]:9000", "[fd00::7]:9000", true},
		{own, "[fd00::8]:9000", "[fd00::7]:9000", false},
		{own, "[fd00::7]", "[fd00::7]:9000", false},
		{own, "web1.example.com:8099", "192.0.2.7:8099", true},
		{own, "web2.example.com:8099", "192.0.2.7:8099", false},
		{own, "web1.example.com:8098", "192.0.2.7:8099", false},
		{own, "web1:8099", "192.0.2.7:8099", false},
		{own, "localhost:8099", "127.0.0.1:8099", true},
		{own, "localhost:8099", "192.0.2.7:8099", false},
		{own, "127.0.0.1:8099", "127.0.0.1:8099", true},
		{own, "127.0.0.1:8099", "192.0.2.7:8099", false},
		{own, ":8099", "192.0.2.7:8099", false},
		{own, "", "192.0.2.7:8099", false},
		{own, "192.0.2.7:8099", "", false},
		{own, "192.0.2.7:8099", "x", false},
		{own, "localhost", "unix", true},
		{own, "web1.example.com", "unix", false},
		{NewHosts(nil, bound, ""), ":8099", "192.0.2.7:8099", false},
		{NewHosts(nil, bound, "localhost"), "localhost:8099", "192.0.2.7:8099", false},
		{listed, "api.example.com", "192.0.2.7:8099", true},
		{listed, "api.example.com:443", "192.0.2.7:8099", true},
		{listed, "gateway:8101", "192.0.2.7:8099", true},
		{listed, "gateway:8102", "192.0.2.7:8099", false},
		{listed, "gateway", "192.0.2.7:8099", false},
		{listed, "[fd00::7]:8099", "192.0.2.7:8099", true},
		{listed, "192.0.2.7:8099", "192.0.2.7:8099", false}, // the list replaces what is found
		{listed, "127.0.0.1:8099", "127.0.0.1:8099", false},
		{listed, "localhost", "unix", false},
	} {
		if got := c.hosts.Accepts(c.authority, c.local, c.local == "unix"); got != c.want {
			t.Errorf("%q at %q, listed %q: got %v, want %v", c.authority, c.local, c.hosts.Listed, got, c.want)
		}
	}
}
