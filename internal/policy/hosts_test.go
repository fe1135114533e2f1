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
	own := Hosts{Bound: bound, Unix: true, Name: OwnName("Web1.Example.com")}
	listed := Hosts{Listed: []string{"api.example.com", "gateway:8101", "[fd00::7]:8099", "proxy:443", "[fd00::8]:80"}, Bound: bound, Unix: true, Name: "web1"}
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
		{own, "[192.0.2.7]:8099", "192.0.2.7:8099", false},
		{own, "]192.0.2.7[:8099", "192.0.2.7:8099", false},
		{own, "192.0.2.7:08099", "192.0.2.7:8099", false},
		{own, "192.0.2.7:8099.", "192.0.2.7:8099", false},
		{own, "web1.example.com.:8099", "192.0.2.7:8099", false},
		{own, "fd00::7:9000", "[fd00::7]:9000", false},
		{own, "[fd00:0::7]:9000", "[fd00::7]:9000", true},
		{own, "[fd00::7%eth0]:9000", "[fd00::7]:9000", false},
		{own, "[::ffff:192.0.2.7]:8099", "192.0.2.7:8099", false},
		{Hosts{Bound: bound}, "localhost", "unix", false}, // the network role lies
		{Hosts{Bound: bound}, ":8099", "192.0.2.7:8099", false},
		{listed, "api.example.com", "192.0.2.7:8099", true},
		{listed, "api.example.com:443", "192.0.2.7:8099", true},
		{listed, "gateway:8101", "192.0.2.7:8099", true},
		{listed, "gateway:8102", "192.0.2.7:8099", false},
		{listed, "gateway", "192.0.2.7:8099", false},
		{listed, "[fd00::7]:8099", "192.0.2.7:8099", true},
		{listed, "proxy", "192.0.2.7:8099", true}, // no request is signed for proxy:443
		{listed, "[fd00::8]", "192.0.2.7:8099", true},
		{listed, "proxy:8099", "192.0.2.7:8099", false},
		{listed, "192.0.2.7:8099", "192.0.2.7:8099", false}, // the list replaces what is found
		{listed, "127.0.0.1:8099", "127.0.0.1:8099", false},
		{listed, "localhost", "unix", false},
	} {
		if got := c.hosts.Accepts(c.authority, c.local, c.local == "unix"); got != c.want {
			t.Errorf("%q at %q, listed %q: got %v, want %v", c.authority, c.local, c.hosts.Listed, got, c.want)
		}
	}
}

// A name that an installer leaves on every host is signed for none of them.
func TestOwnName(t *testing.T) {
	for hostname, want := range map[string]string{
		"Web1.Example.com": "web1.example.com", "web1": "web1", "localhost1": "localhost1", "": "",
		"localhost": "", "Localhost": "", "localhost.": "", "localhost.localdomain": "",
		"localhost.example.com": "", "web1.localhost": "", "(none)": "",
	} {
		if got := OwnName(hostname); got != want {
			t.Errorf("%q: got %q, want %q", hostname, got, want)
		}
	}
}
