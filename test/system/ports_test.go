package system

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// ports wants the given exit status and returns the output.
func (p place) ports(want int, args ...string) string {
	p.t.Helper()
	got, stdout, stderr := testkit.Run(p.t, "", append([]string{"ports", "--config", p.path}, args...)...)
	if got != want || stdout != "" {
		p.t.Fatalf("ports: status %d, want %d\n%s%s", got, want, stdout, stderr)
	}
	return stderr
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

func TestPorts_HolderOfEachBusyAddress(t *testing.T) {
	p := newPlace(t)
	_, port, _ := net.SplitHostPort(listenOn(t, "tcp4", "127.0.0.1:0"))
	me := fmt.Sprintf("(PID %d)", os.Getpid())
	for _, bind := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port} {
		wantAll(t, p.ports(1, "--bind", bind), "BIND address "+bind+" is taken by ", me, "give other addresses with --bind")
	}
	if said := p.ports(0, "--bind", "127.0.0.9:"+port+",[::1]:"+port+",192.0.2.77:"+port); said != "" {
		t.Errorf("free, yet it says %s", said)
	}
	_, port, _ = net.SplitHostPort(listenOn(t, "tcp", "[::]:0")) // includes IPv4
	for _, bind := range []string{"127.0.0.1:" + port, "192.0.2.77:" + port, "[::1]:" + port} {
		wantAll(t, p.ports(1, "--bind", bind), bind+" is taken by ", me)
	}
}

func TestPorts_SocketFiles(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	wantAll(t, p.ports(1, "--bind", path), path+" is taken by ", fmt.Sprintf("(PID %d)", os.Getpid()))
	_ = listener.Close()
	p.ports(0, "--bind", path) // the file remains without a listener
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p.ports(1, "--bind", path), path+" is there and is no socket")
}

func TestPorts_BindThatWillBeInForce(t *testing.T) {
	p := newPlace(t)
	taken, free := listenOn(t, "tcp4", "127.0.0.1:0"), "127.0.0.9:9"
	p.ports(0, "--bind", free)
	p.write("SECRET_KEY=\"" + givenKey + "\"\nBIND=\"" + taken + "\"\n")
	wantAll(t, p.ports(1), taken+" is taken")
	p.ports(0, "--bind", free)
	p.write("export SECRET_KEY=" + givenKey + "\nBIND=" + taken + "\n") // in the form of the original Sidecar
	wantAll(t, p.ports(1), taken+" is taken")
	p.write("SECRET_KEY=\"" + givenKey + "\nBIND=1")
	if said := p.ports(1); strings.Contains(said, givenKey) || !strings.Contains(said, "no closing quote") {
		t.Errorf("a broken configuration: %s", said)
	}
	wantAll(t, p.ports(1, "--bind", "127.0.0.1.8099"), "--bind: address 1 of 1")
}
