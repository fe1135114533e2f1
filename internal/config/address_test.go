package config

import (
	"slices"
	"strings"
	"testing"
)

func TestParseBind_Valid(t *testing.T) {
	long := "/" + strings.Repeat("s", maxSocketPath-1)
	for _, test := range []struct{ text, want string }{
		{DefaultBind, DefaultBind},
		{" 127.0.0.1:8099 ,\t[::1]:8200 ", "127.0.0.1:8099,[::1]:8200"},
		{"0.0.0.0:8099,[::]:8099,0.0.0.0:80", "0.0.0.0:8099,[::]:8099,0.0.0.0:80"},
		{"[2001:DB8:0:0::1]:65535", "[2001:db8::1]:65535"},
		{
			"127.0.0.1:8099,127.0.0.1:8100,127.0.0.2:8099",
			"127.0.0.1:8099,127.0.0.1:8100,127.0.0.2:8099",
		},
		{"/run/dffs/side-car_1.sock,127.0.0.1:1", "/run/dffs/side-car_1.sock,127.0.0.1:1"},
		{long, long},
	} {
		addresses, err := ParseBind(test.text)
		if err != nil || JoinBind(addresses) != test.want {
			t.Errorf("%q: got %v, %v, want %s", test.text, addresses, err, test.want)
		}
	}
	addresses, _ := ParseBind("/run/a,[::1]:1")
	if addresses[0].Network != "unix" || addresses[0].Path != "/run/a" ||
		addresses[1].Network != "tcp" || addresses[1].AddrPort.Port() != 1 {
		t.Errorf("got the networks of %+v, want unix and tcp", addresses)
	}
}

func TestParseBind_Refusals(t *testing.T) {
	const form = "must be an IP address with a port from 1 to 65535, or the absolute path of a " +
		"Unix socket: write for example 127.0.0.1:8099, [::1]:8099 or " +
		"/run/dataflux-func-sidecar.sock"
	for _, test := range []struct{ text, want string }{
		{"", "address 1 of 1 " + form},
		{"127.0.0.1:8099,", "address 2 of 2 " + form},
		{"0.0.0.0.8099", form},
		{"127.0.0.1", form},
		{"[::1]", form},
		{"::1", form},
		{"::1:8200", form},
		{"2001:db8::1:8200", form},
		{"fd00::abcd", form},
		{"127.0.0.1:0", form},
		{"127.0.0.1:65536", form},
		{"127.0.0.1:", form},
		{"127.0.0.1:http", form},
		{"[::1]:-1", form},
		{"8099", form},
		{":8099", form},
		{"localhost:8100", form},
		{"localhost", form},
		{"*:8099", form},
		{"func.example.com:8099", form},
		{"256.0.0.1:8099", form},
		{"127.0.0.01:8099", form},
		{"127.0.0.1:8099 172.17.0.1:8099", form},
		{"127.0.0.1:8099;172.17.0.1:8099", form},
		{"http://127.0.0.1:8099/", form},
		{"https://func.example.com:8099/x", form},
		{"127.0.0.1:8099/shell", form},
		{"unix:/run/a.sock", form},
		{"@sidecar", form},
		{"run/sidecar.sock", form},
		{
			"127.0.0.1:8099，172.17.0.1:8099",
			"not ASCII, such as the fullwidth comma (，) or colon (：): write all addresses in ASCII",
		},
		{"127.0.0.1：8099", "not ASCII"},
		{"127.0.0.1:8099、172.17.0.1:8099", "not ASCII"},
		{"127。0.0.1:8099", "not ASCII"},
		{"１２７.0.0.1:8099", "not ASCII"},
		{"127.0.0.1:8099\n172.17.0.1:8099", "holds a control character"},
		{
			"127.0.0.1:1,127.0.0.1:2,127.0.0.1:1",
			"address 3 of 3 is the same as address 1: write it once",
		},
		{"[::1]:1,[0::0:1]:1", "address 2 of 2 is the same as address 1"},
		{
			"0.0.0.0:8099,127.0.0.1:8099",
			"address 2 of 2 is part of address 1, 0.0.0.0:8099, already",
		},
		{"[::1]:8099,[::]:8099", "address 2 of 2 takes in address 1, [::1]:8099, already"},
		{"[fe80::1%eth0]:8099", "has a zone (%…), which is not supported"},
		{"[fe80::1]:8099", "is an IPv6 link-local address"},
		{"[::ffff:127.0.0.1]:8099", "is an IPv4 address inside an IPv6 one: write 127.0.0.1:8099"},
		{"224.0.0.1:8099", "multicast or broadcast"},
		{"255.255.255.255:8099", "multicast or broadcast"},
		{"/run/side car.sock", "with a character other than letters"},
		{"/run/%t.sock", "with a character other than letters"},
		{"/run/a\\b", "with a character other than letters"},
		{"/run//a", "is not a clean path"},
		{"/run/../etc/a", "is not a clean path"},
		{"/run/", "is not a clean path"},
		{"/", "is not a clean path"},
		{"/" + strings.Repeat("s", maxSocketPath), "more than 107 bytes"},
		{strings.Repeat("127.0.0.1:1,", 64) + "127.0.0.1:2", "lists more than 64 addresses"},
	} {
		addresses, err := ParseBind(test.text)
		if err == nil {
			t.Errorf("%.60q: got %v, want %s", test.text, addresses, test.want)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q\n got %v\nwant %s", test.text, err, test.want)
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
			t.Errorf("%q: got %v, %v from %q, want the same addresses", text, again, err, joined)
		}
		if strings.ContainsAny(joined, " %$\"'\\`\n") || len(listenStreams(string(SocketDropInText(addresses)))) != len(addresses) {
			t.Errorf("%q: got %q, which a drop-in or a shell reads differently", text, joined)
		}
	})
}
