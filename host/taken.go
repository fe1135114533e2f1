package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
)

// RefuseTaken returns an error for each address that somebody other than this service has. units are
// the addresses that systemd holds for it.
func RefuseTaken(addresses []config.Address, units []string) error {
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

// ServiceHas says whether this service has an address open.
func ServiceHas(address config.Address) bool {
	return slices.ContainsFunc(socketsOn(address), func(s heldSocket) bool { return s.ours(nil) })
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
		sockets = socketsOn(address)
		return sockets, len(sockets) > 0
	}
	if !inUse(address) {
		return nil, false
	}
	return socketsOn(address), true
}

func socketsOn(address config.Address) []heldSocket {
	if address.Network == "unix" {
		return withHolders(unixSockets(address.Path))
	}
	return withHolders(tcpSockets(address.AddrPort))
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
