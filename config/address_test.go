package config

import (
	"slices"
	"strings"
	"testing"
)

func TestParseBindTakes(t *testing.T) {
	long := "/" + strings.Repeat("s", longestPath-1)
	for _, test := range []struct{ text, want string }{
		{DefaultBind, DefaultBind},
		{" 127.0.0.1:8099 ,\t[::1]:8200 ", "127.0.0.1:8099,[::1]:8200"},
		{"0.0.0.0:8099,[::]:8099,0.0.0.0:80", "0.0.0.0:8099,[::]:8099,0.0.0.0:80"},
		{"[2001:DB8:0:0::1]:65535", "[2001:db8::1]:65535"},
		{"127.0.0.1:8099,127.0.0.1:8100,127.0.0.2:8099", "127.0.0.1:8099,127.0.0.1:8100,127.0.0.2:8099"},
		{"/run/dffs/side-car_1.sock,127.0.0.1:1", "/run/dffs/side-car_1.sock,127.0.0.1:1"},
		{long, long},
	} {
		addresses, err := ParseBind(test.text)
		if err != nil || JoinBind(addresses) != test.want {
			t.Errorf("%q gives %v, %v", test.text, addresses, err)
		}
	}
	addresses, _ := ParseBind("/run/a,[::1]:1")
	if addresses[0].Network != "unix" || addresses[0].Path != "/run/a" || addresses[1].Network != "tcp" || addresses[1].AddrPort.Port() != 1 {
		t.Errorf("networks are wrong: %+v", addresses)
	}
}

func TestParseBindSaysWhatToWriteInstead(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "address 1 of 1 is empty: remove the extra comma, or write for example 127.0.0.1:8099"},
		{"127.0.0.1:8099,", "address 2 of 2 is empty"},
		{"0.0.0.0.8099", "did you mean 0.0.0.0:8099?"},
		{"127.0.0.1", "has no port: write 127.0.0.1:8099"},
		{"[::1]", "has no port: write [::1]:8099"},
		{"::1", "has no port: write [::1]:8099"},
		{"::1:8200", "has an IPv6 address without brackets: write [::1]:8200"},
		{"2001:db8::1:8200", "write [2001:db8::1]:8200"},
		{"fd00::abcd", "has no port: write [fd00::abcd]:8099"},
		{"127.0.0.1:0", "has port 0: write a port from 1 to 65535"},
		{"127.0.0.1:65536", "has no port from 1 to 65535 after the colon: write for example 127.0.0.1:8099"},
		{"127.0.0.1:", "has no port from 1 to 65535 after the colon"},
		{"127.0.0.1:http", "has no port from 1 to 65535 after the colon"},
		{"[::1]:-1", "write for example [::1]:8099"},
		{"8099", "is a port alone: write 127.0.0.1:8099, or 0.0.0.0:8099 for every"},
		{":8099", "is a port alone: write 127.0.0.1:8099"},
		{"localhost:8100", "has a host name: write 127.0.0.1:8100"},
		{"localhost", "has a host name: write 127.0.0.1:8099"},
		{"*:8099", "has a * for the address: write 0.0.0.0:8099"},
		{"func.example.com:8099", "host names are not looked up; write the address itself, such as 127.0.0.1:8099"},
		{"256.0.0.1:8099", "has no valid IP address"},
		{"127.0.0.01:8099", "has no valid IP address"},
		{"127.0.0.1:1,127.0.0.1:2,127.0.0.1:1", "address 3 of 3 is the same as address 1: write it once"},
		{"[::1]:1,[0::0:1]:1", "address 2 of 2 is the same as address 1"},
		{"0.0.0.0:8099,127.0.0.1:8099", "address 2 of 2 is part of address 1, 0.0.0.0:8099, already"},
		{"[::1]:8099,[::]:8099", "address 2 of 2 takes in address 1, [::1]:8099, already"},
		{"127.0.0.1:8099，172.17.0.1:8099", "holds the Chinese or fullwidth character '，': write the ASCII comma (,) instead"},
		{"127.0.0.1：8099", "fullwidth character '：': write the ASCII colon (:)"},
		{"127.0.0.1:8099、172.17.0.1:8099", "write the ASCII comma"},
		{"127。0.0.1:8099", "write the ASCII full stop"},
		{"１２７.0.0.1:8099", "is not ASCII"},
		{"127.0.0.1:8099\n172.17.0.1:8099", "holds a line break"},
		{"127.0.0.1:8099 172.17.0.1:8099", "separate addresses by commas"},
		{"127.0.0.1:8099;172.17.0.1:8099", "separate addresses by commas"},
		{"http://127.0.0.1:8099/", "is a URL: write the address alone, 127.0.0.1:8099"},
		{"https://func.example.com:8099/x", "is a URL: write address and port alone"},
		{"127.0.0.1:8099/shell", "has a path after its port: write 127.0.0.1:8099"},
		{"unix:/run/a.sock", "write the path alone"},
		{"@sidecar", "is an abstract Unix socket"},
		{"[fe80::1%eth0]:8099", "has a zone (%…), which is not supported"},
		{"[fe80::1]:8099", "is an IPv6 link-local address"},
		{"[::ffff:127.0.0.1]:8099", "is an IPv4 address inside an IPv6 one: write 127.0.0.1:8099"},
		{"224.0.0.1:8099", "multicast or broadcast"},
		{"255.255.255.255:8099", "multicast or broadcast"},
		{"run/sidecar.sock", "is not an address: write for example"},
		{"/run/side car.sock", "with a character other than letters"},
		{"/run/%t.sock", "with a character other than letters"},
		{"/run/a\\b", "with a character other than letters"},
		{"/run//a", "is not a clean path"},
		{"/run/../etc/a", "is not a clean path"},
		{"/run/", "is not a clean path"},
		{"/", "is not a clean path"},
		{"/" + strings.Repeat("s", longestPath), "more than 107 bytes"},
		{strings.Repeat("127.0.0.1:1,", 64) + "127.0.0.1:2", "lists more than 64 addresses"},
	} {
		addresses, err := ParseBind(test.text)
		if err == nil {
			t.Errorf("%.60q was accepted as %v", test.text, addresses)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q\n gives %v\n  want %s", test.text, err, test.want)
		}
	}
}

func FuzzParseBind(f *testing.F) {
	for _, seed := range []string{DefaultBind, "[::1]:8200,/run/a", "::1:8200", "0.0.0.0.8099", "http://a", "，", "@a", "[fe80::1%x]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addresses, err := ParseBind(text)
		if err != nil {
			return
		}
		joined := JoinBind(addresses)
		again, err := ParseBind(joined)
		if err != nil || !slices.Equal(addresses, again) {
			t.Errorf("%q gives %q, which gives %v, %v", text, joined, again, err)
		}
		if strings.ContainsAny(joined, " %$\"'\\`\n") || len(ListenStreams(SocketDropInText(addresses))) != len(addresses) {
			t.Errorf("%q gives %q, which a drop-in or a shell reads differently", text, joined)
		}
	})
}
