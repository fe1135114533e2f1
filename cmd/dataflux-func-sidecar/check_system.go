package main

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflux-func-sidecar/config"
)

func (r *report) checkAddress(address config.Address) {
	if address.Network == "unix" {
		r.checkSocketFile(address.Path)
		return
	}
	ip := address.AddrPort.Addr()
	switch {
	case ip.IsUnspecified():
		r.warning("BIND address %s takes connections on every address of this host: write the addresses that DataFlux Func uses, or have a firewall", address)
	case ip.IsLoopback() && ip.Is4(), assigned(ip):
		r.ok("BIND address %s is an address of this host", address)
	default:
		r.warning("BIND address %s is on no interface now (a Docker bridge comes with Docker): nothing to do if it will be, as the socket waits for it", address)
	}
}

func assigned(ip netip.Addr) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}

// checkSocketFile finds what would keep systemd from making the socket: it
// replaces a socket that is there, and nothing else.
func (r *report) checkSocketFile(path string) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.ok("BIND address %s is free", path)
	case err != nil:
		r.failure("BIND address %s cannot be looked at: %v: write another path", path, err)
	case info.Mode().Type() != os.ModeSocket:
		r.failure("BIND address %s is a file and no socket: move it away or write another path", path)
	default:
		r.ok("BIND address %s is a socket", path)
	}
}

// checkUnits compares what systemd was told with what the configuration says.
func (r *report) checkUnits(c config.Config, path, unitDir string) {
	unit, err := os.ReadFile(filepath.Join(unitDir, "dataflux-func-sidecar.socket"))
	if err != nil {
		r.warning("no dataflux-func-sidecar.socket in %s: run install.sh, unless you start the program yourself with --bind", unitDir)
		return
	}
	mend := "run dataflux-func-sidecar configure --config " + config.ShellQuote(path) +
		" --unit-dir " + config.ShellQuote(unitDir) + " && " + config.ApplyBind
	if slices.Equal(listenStreams(unit, unitDir), strings.Split(config.JoinBind(c.Bind), ",")) {
		r.ok("the socket unit listens on what BIND says")
	} else {
		r.failure("the socket unit listens on other addresses than BIND says: %s", mend)
	}
	sudo, err := os.ReadFile(config.SudoDropIn(unitDir))
	switch present := err == nil; {
	case present != c.AllowSudo:
		r.failure("%s does not agree with ALLOW_SUDO = %t: %s", config.SudoDropIn(unitDir), c.AllowSudo, mend)
	case present && !bytes.Equal(sudo, config.SudoDropInText()):
		r.failure("%s is not what this version writes: %s", config.SudoDropIn(unitDir), mend)
	case present:
		r.warning("ALLOW_SUDO = true: commands may become root as far as sudoers lets them")
	}
}

// listenStreams are the addresses that the unit and its drop-ins leave systemd
// with, in the order in which it reads them.
func listenStreams(unit []byte, unitDir string) []string {
	dir := filepath.Dir(config.SocketDropIn(unitDir))
	dropIns, _ := os.ReadDir(dir) // sorted by name, as systemd does; none is no error
	for _, dropIn := range dropIns {
		if !strings.HasSuffix(dropIn.Name(), ".conf") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, dropIn.Name()))
		if err == nil {
			unit = slices.Concat(unit, []byte("\n"), text)
		}
	}
	return config.ListenStreams(unit)
}
