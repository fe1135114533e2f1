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
	"time"

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
	if unitDir == "" { // as for configure: a start by hand
		return
	}
	unit := filepath.Join(unitDir, "dataflux-func-sidecar.socket")
	if _, err := os.Stat(unit); err != nil {
		r.warning("no dataflux-func-sidecar.socket in %s: run install.sh, unless you start the program yourself with --bind", unitDir)
		return
	}
	mend := "run dataflux-func-sidecar configure --config " + config.ShellQuote(path) +
		" --unit-dir " + config.ShellQuote(unitDir) + " && " + config.ApplyBind
	streams := config.ListenStreams(withDropIns(unit))
	slices.Sort(streams)
	if slices.Equal(streams, sortedTexts(c.Bind)) {
		r.ok("the socket unit listens on what BIND says")
	} else {
		r.failure("the socket unit listens on other addresses than BIND says: %s", mend)
	}
	r.checkSudo(c, unitDir, mend)
	r.checkStop(c, unitDir)
}

func sortedTexts(addresses []config.Address) []string {
	texts := strings.Split(config.JoinBind(addresses), ",")
	slices.Sort(texts)
	return texts
}

func (r *report) checkSudo(c config.Config, unitDir, mend string) {
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

// checkStop finds a drain that systemd would cut short.
func (r *report) checkStop(c config.Config, unitDir string) {
	var limit time.Duration
	text := withDropIns(filepath.Join(unitDir, "dataflux-func-sidecar.service"))
	for line := range strings.Lines(string(text)) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "TimeoutStopSec=")
		if d, err := time.ParseDuration(value); found && err == nil {
			limit = d
		}
	}
	if needed := c.DrainTimeout + c.KillGrace; limit > 0 && needed >= limit {
		r.warning("DRAIN_TIMEOUT and KILL_GRACE together are %s, but systemd kills the service %s after a stop: "+
			"raise TimeoutStopSec with systemctl edit dataflux-func-sidecar.service", needed, limit)
	}
}

// withDropIns is the text of a unit and of its drop-ins, in the order in which
// systemd reads them. What is missing is left out.
func withDropIns(unit string) []byte {
	text, _ := os.ReadFile(unit)
	dropIns, _ := os.ReadDir(unit + ".d") // sorted by name, as systemd does
	for _, dropIn := range dropIns {
		more, err := os.ReadFile(filepath.Join(unit+".d", dropIn.Name()))
		if err == nil && strings.HasSuffix(dropIn.Name(), ".conf") {
			text = slices.Concat(text, []byte("\n"), more)
		}
	}
	return text
}
