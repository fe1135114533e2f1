package host

import (
	"net/netip"
	"testing"
)

func TestASocketIsOursByItsCgroupOrAsOneOfTheActiveSocketUnit(t *testing.T) {
	units := []string{"127.0.0.1:8099"}
	of := func(address string, holders ...holder) heldSocket {
		return heldSocket{address: address, holders: holders}
	}
	other := holder{pid: 7, name: "other"}
	for name, one := range map[string]struct {
		socket heldSocket
		want   bool
	}{
		"the service":                     {of("0.0.0.0:8099", other, holder{pid: 8, inService: true}), true},
		"systemd, for our unit":           {of("127.0.0.1:8099", holder{pid: 1}), true},
		"systemd, for another unit":       {of("0.0.0.0:8099", holder{pid: 1}), false},
		"a program, on one of our unit's": {of("127.0.0.1:8099", other), false},
		"nobody who can be seen":          {of("127.0.0.1:8099"), false},
	} {
		if got := one.socket.ours(units); got != one.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (heldSocket{address: units[0], holders: []holder{{pid: 1}}}).ours(nil) {
		t.Error("systemd holds it for us although our socket unit is not active")
	}
}

func TestHoldersAreDescribedForWhoMustStopThem(t *testing.T) {
	systemd, nginx := holder{pid: 1, name: "systemd"}, holder{pid: 7, name: "nginx"}
	for want, sockets := range map[string][]heldSocket{
		"nginx (PID 7)": {{holders: []holder{systemd, nginx}}, {holders: []holder{nginx}}},
		"nginx (PID 7) and systemd, for a socket unit that systemctl list-sockets shows": {{holders: []holder{nginx}}, {holders: []holder{systemd}}},
		"a process that cannot be seen from here, such as one of another container":      {{}},
	} {
		if got := describe(sockets); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAddressesAreReadAsTheKernelWritesThem(t *testing.T) {
	for text, want := range map[string]string{ // of a little-endian host, as amd64 and arm64 are
		"0100007F:1FA3":                         "127.0.0.1:8099",
		"00000000:1FA3":                         "0.0.0.0:8099",
		"00000000000000000000000001000000:1FA3": "[::1]:8099",
		"0000000000000000FFFF00000100007F:1FA3": "127.0.0.1:8099",
	} {
		if got, ok := parseLocal(text); !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s is read as %s", text, got)
		}
	}
	for _, text := range []string{"", "local_address", "0100007F", "0100007F:1FA3F", "01007F:1FA3"} {
		if got, ok := parseLocal(text); ok {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}
