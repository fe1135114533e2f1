package host

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflux-func-sidecar/internal/config"
)

func TestHeldSocket_IsOurs(t *testing.T) {
	units := []string{"127.0.0.1:8099"}
	of := func(address string, holders ...holder) heldSocket {
		return heldSocket{address: address, holders: holders}
	}
	other := holder{pid: 7, name: "other"}
	for name, one := range map[string]struct {
		socket heldSocket
		want   bool
	}{
		"the service": {of("0.0.0.0:8099", other, holder{
			pid:       8,
			inService: true,
		}), true},
		"systemd, for our unit":           {of("127.0.0.1:8099", holder{pid: 1}), true},
		"systemd, for another unit":       {of("0.0.0.0:8099", holder{pid: 1}), false},
		"a program, on one of our unit's": {of("127.0.0.1:8099", other), false},
		"no visible process":              {of("127.0.0.1:8099"), false},
	} {
		if got := one.socket.isOurs(units); got != one.want {
			t.Errorf("%s: got %t, want %t", name, got, one.want)
		}
	}
	if (heldSocket{address: units[0], holders: []holder{{pid: 1}}}).isOurs(nil) {
		t.Error("got ours for a socket of systemd, want false while our socket unit is inactive")
	}
}

func TestListeners_OfThisProcess(t *testing.T) {
	var want []string
	for network, address := range map[string]string{
		"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "socket"),
	} {
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		want = append(want, listener.Addr().String())
	}
	found, err := Listeners(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range want {
		if !slices.ContainsFunc(found, func(a config.Address) bool {
			return a.String() == address
		}) {
			t.Errorf("got %v, want %s among them", found, address)
		}
	}
	if _, err := Listeners(1 << 30); err == nil {
		t.Error("got no error for a process that does not exist")
	}
}

func TestDescribe_Holders(t *testing.T) {
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

func TestParseLocal(t *testing.T) {
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

func TestIsOfService(t *testing.T) {
	for cgroups, want := range map[string]bool{
		"0::/system.slice/dataflux-func-sidecar.service/daemon\n":                              true,
		"1:name=systemd:/system.slice/dataflux-func-sidecar.service\n0::/\n":                   true,
		"0::/docker/1a2b/system.slice/dataflux-func-sidecar.service/jobs/7\n":                  true,
		"0::/system.slice/other.service\n":                                                     false,
		"0::/user.slice/user-7.slice/user@7.service/app.slice/dataflux-func-sidecar.service\n": false,
		"": false,
	} {
		if got := isOfService(cgroups); got != want {
			t.Errorf("%q: got %t, want %t", cgroups, got, want)
		}
	}
}
