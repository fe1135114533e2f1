package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ports wants the given exit status and returns what was said.
func (p place) ports(want int, args ...string) string {
	p.t.Helper()
	var said bytes.Buffer
	if got := runPorts(append([]string{"--config", p.path, "--unit-dir", p.unitDir}, args...), &said); got != want {
		p.t.Fatalf("ports: status %d, want %d\n%s", got, want, said.String())
	}
	return said.String()
}

func listenOn(t *testing.T, network, address string) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestPortsNamesTheHolderOfEachAddressThatIsTaken(t *testing.T) {
	p := newPlace(t)
	_, port, _ := net.SplitHostPort(listenOn(t, "tcp4", "127.0.0.1:0"))
	me := fmt.Sprintf("(PID %d)", os.Getpid())
	for _, bind := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port} {
		wantAll(t, p.ports(1, "--bind", bind), "BIND address "+bind+" is taken by ", me, "give other addresses with --bind")
	}
	if said := p.ports(0, "--bind", "127.0.0.9:"+port+",[::1]:"+port+",192.0.2.77:"+port); said != "" {
		t.Errorf("free, yet it says %s", said)
	}
	_, port, _ = net.SplitHostPort(listenOn(t, "tcp", "[::]:0")) // takes IPv4 as well
	for _, bind := range []string{"127.0.0.1:" + port, "192.0.2.77:" + port, "[::1]:" + port} {
		wantAll(t, p.ports(1, "--bind", bind), bind+" is taken by ", me)
	}
}

func TestPortsTellsSocketFilesInUseFromOthers(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	wantAll(t, p.ports(1, "--bind", path), path+" is taken by ", fmt.Sprintf("(PID %d)", os.Getpid()))
	_ = listener.Close()
	p.ports(0, "--bind", path) // the file is left, and nobody listens
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p.ports(1, "--bind", path), path+" is there and is no socket")
}

func TestPortsLooksAtTheBindThatWillBeInForce(t *testing.T) {
	p := newPlace(t)
	taken, free := listenOn(t, "tcp4", "127.0.0.1:0"), "127.0.0.9:9"
	p.ports(0, "--bind", free)
	p.write("SECRET_KEY=\"" + givenKey + "\"\nBIND=\"" + taken + "\"\n")
	wantAll(t, p.ports(1), taken+" is taken")
	p.ports(0, "--bind", free)
	p.write("export SECRET_KEY=" + givenKey + "\nBIND=" + taken + "\n") // as the original Sidecar has it
	wantAll(t, p.ports(1), taken+" is taken")
	p.write("SECRET_KEY=\"" + givenKey + "\nBIND=1")
	if said := p.ports(1); strings.Contains(said, givenKey) || !strings.Contains(said, "no closing quote") {
		t.Errorf("a broken configuration: %s", said)
	}
	wantAll(t, p.ports(1, "--bind", "127.0.0.1.8099"), "--bind: address 1 of 1")
}

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
