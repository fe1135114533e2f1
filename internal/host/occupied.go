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

	"dataflux-func-sidecar/internal/config"
)

// CheckFree returns an error for each address that a process other than this service has. listen
// are the addresses that systemd holds for the service.
func CheckFree(addresses []config.Address, listen []string) error {
	var occupied []error
	for _, address := range addresses {
		if err := checkFile(address); err != nil {
			occupied = append(occupied, err)
			continue
		}
		// A socket file without a listener is a leftover, which systemd replaces.
		sockets := socketsOn(address)
		if address.Network == "unix" && len(sockets) == 0 || address.Network == "tcp" &&
			!inUse(address) {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(sockets),
			func(s heldSocket) bool { return s.isOurs(listen) })
		if len(sockets) > 0 && len(others) == 0 {
			continue
		}
		occupied = append(occupied, fmt.Errorf("BIND address %s is taken by %s: stop that, or "+
			"give other addresses with --bind", address, describe(others)))
	}
	return errors.Join(occupied...)
}

// ServiceHas reports whether this service has an address open.
func ServiceHas(address config.Address) bool {
	return slices.ContainsFunc(socketsOn(address), func(s heldSocket) bool { return s.isOurs(nil) })
}

// checkFile finds a file in the way of a Unix socket: systemd replaces a socket and nothing else,
// and makes a missing directory.
func checkFile(address config.Address) error {
	if address.Network != "unix" {
		return nil
	}
	info, err := os.Lstat(address.Path)
	if err != nil || info.Mode().Type() == os.ModeSocket {
		return nil
	}
	return fmt.Errorf("BIND address %s is there and is no socket: move it away, or give another "+
		"path with --bind", address)
}

// inUse listens for a moment as systemd would, also on an address that is on no interface yet. Only
// EADDRINUSE counts.
func inUse(address config.Address) bool {
	network := "tcp4"
	if address.AddrPort.Addr().Is6() {
		network = "tcp6" // IPv6 only, like BindIPv6Only= of the socket unit
	}
	listener, err := (&net.ListenConfig{Control: freeBind}).Listen(context.Background(), network,
		address.String())
	if err == nil {
		_ = listener.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

func freeBind(_, _ string, raw syscall.RawConn) error {
	var sockErr error
	err := raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, sockErr)
}
