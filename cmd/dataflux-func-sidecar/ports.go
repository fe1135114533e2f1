package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
)

// portsCommand is for install.sh, which asks before it touches anything.
const portsCommand = "ports"

// runPorts tells of each address of the BIND that will be in force whether something else has it, and
// who. It changes nothing.
func runPorts(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(portsCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", defaultConfig, "configuration `file`, which need not exist yet")
	unitDir := flags.String("unit-dir", "/etc/systemd/system", "`directory` of the systemd units")
	bind := flags.String("bind", "", "`addresses` that will replace those of the configuration")
	active := flags.Bool("socket-active", false, "the socket unit is active: what systemd holds of its addresses is ours")
	if err := flags.Parse(args); err != nil {
		return usageStatus(err)
	}
	addresses, err := bindToBe(*path, *bind, given(flags, "bind"))
	if err == nil {
		var units []string
		if *active {
			units = config.ListenStreams(withDropIns(filepath.Join(*unitDir, "dataflux-func-sidecar.socket")))
		}
		err = refuseTaken(addresses, units)
	}
	if err != nil {
		sayFailures(stderr, err)
		return 1
	}
	return 0
}

func given(flags *flag.FlagSet, name string) (found bool) {
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// bindToBe is what configure would leave in the configuration.
func bindToBe(path, bind string, bindGiven bool) ([]config.Address, error) {
	if bindGiven {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			return nil, fmt.Errorf("--bind: %w", err)
		}
		return addresses, nil
	}
	data, _, err := config.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return firstBind(), nil
	}
	if err != nil {
		return nil, err
	}
	c := configuring{path: path, say: io.Discard}
	if data, err = c.adopt(data); err == nil {
		_, err = c.amend(data)
	}
	if err != nil {
		return nil, err
	}
	return c.result.Bind, nil
}

// refuseTaken returns an error for each address that somebody other than this service has. units are
// the addresses that systemd holds for it.
func refuseTaken(addresses []config.Address, units []string) error {
	var taken []error
	for _, address := range addresses {
		if err := refuseFile(address); err != nil {
			taken = append(taken, err)
			continue
		}
		sockets, busy := inTheWay(address)
		others := slices.DeleteFunc(slices.Clone(sockets), func(s heldSocket) bool { return s.ours(units) })
		if !busy || len(sockets) > 0 && len(others) == 0 {
			continue
		}
		taken = append(taken, fmt.Errorf("BIND address %s is taken by %s: stop that, or give other addresses with --bind",
			address, describe(others)))
	}
	return errors.Join(taken...)
}

// refuseFile finds what systemd would not replace by a socket, unlike an earlier socket.
func refuseFile(address config.Address) error {
	if address.Network != "unix" {
		return nil
	}
	info, err := os.Lstat(address.Path)
	if err != nil || info.Mode().Type() == os.ModeSocket {
		return nil // absent, or its folder is, which systemd makes
	}
	return fmt.Errorf("BIND address %s is there and is no socket: move it away, or give another path with --bind", address)
}

// inTheWay says whether an address is in use, and by which sockets as far as /proc tells.
func inTheWay(address config.Address) (sockets []heldSocket, busy bool) {
	if address.Network == "unix" {
		// A socket file that nobody listens on is a leftover; one that is in use, systemd would replace as well.
		sockets = unixSockets(address.Path)
		return withHolders(sockets), len(sockets) > 0
	}
	if !inUse(address) {
		return nil, false
	}
	return withHolders(tcpSockets(address.AddrPort)), true
}

// inUse listens for a moment as systemd would: FreeBind takes addresses that are on no interface yet.
// Whatever else goes wrong with an address is not a matter of who has it.
func inUse(address config.Address) bool {
	network := "tcp4"
	if address.AddrPort.Addr().Is6() {
		network = "tcp6" // IPv6 alone, as BindIPv6Only= of the socket unit says
	}
	listener, err := (&net.ListenConfig{Control: freeBind}).Listen(context.Background(), network, address.String())
	if err == nil {
		_ = listener.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

func freeBind(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, failed)
}
