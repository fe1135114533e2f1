package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
)

// socket is a listening socket that the network role will serve.
type socket struct {
	file    *os.File
	address config.Address
}

// inheritedSockets takes what systemd hands over, every one of it, or says which cannot be used.
func inheritedSockets() ([]socket, error) {
	var sockets []socket
	for i, f := range activation.Files(true) {
		if f == nil {
			return nil, fmt.Errorf("socket %d that was handed over is not open", i+1)
		}
		address, err := inspect(f)
		if err != nil {
			return nil, fmt.Errorf("cannot use socket %d that was handed over: %w: use ListenStream= lines only", i+1, err)
		}
		sockets = append(sockets, socket{f, address})
	}
	return sockets, nil
}

// inspect asks the kernel what a descriptor is; names of sockets are not known on old systemd.
func inspect(f *os.File) (config.Address, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return config.Address{}, err
	}
	var address config.Address
	var failed error
	err = raw.Control(func(fd uintptr) { address, failed = inspectFD(int(fd)) })
	return address, errors.Join(err, failed)
}

func inspectFD(fd int) (config.Address, error) {
	unix.CloseOnExec(fd)
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return config.Address{}, fmt.Errorf("it is not a socket: %w", err)
	}
	if listening == 0 {
		return config.Address{}, errors.New("it does not listen for connections")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return config.Address{}, err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return tcpAddress(netip.AddrFrom4(a.Addr), a.Port), nil
	case *unix.SockaddrInet6:
		return tcpAddress(netip.AddrFrom16(a.Addr), a.Port), nil
	case *unix.SockaddrUnix:
		return config.Address{Network: "unix", Path: a.Name}, nil
	}
	return config.Address{}, errors.New("it is neither TCP nor a Unix socket")
}

func tcpAddress(ip netip.Addr, port int) config.Address {
	return config.Address{Network: "tcp", AddrPort: netip.AddrPortFrom(ip, uint16(port))}
}

// openSockets listens by itself, for a start without systemd.
func openSockets(addresses []config.Address) ([]socket, error) {
	var sockets []socket
	for _, a := range addresses {
		f, err := listen(a)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", a, err)
		}
		sockets = append(sockets, socket{f, a})
	}
	return sockets, nil
}

func listen(a config.Address) (*os.File, error) {
	if a.Network == "unix" {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.Path, Net: "unix"})
		if err != nil {
			return nil, err
		}
		l.SetUnlinkOnClose(false) // the file lives as long as the duplicate below
		defer func() { _ = l.Close() }()
		return l.File()
	}
	network := "tcp4"
	if a.AddrPort.Addr().Is6() {
		network = "tcp6" // IPv6 alone, as BindIPv6Only= of the socket unit says
	}
	l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(a.AddrPort))
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	return l.File()
}

func addressesOf(sockets []socket) []config.Address {
	var addresses []config.Address
	for _, s := range sockets {
		addresses = append(addresses, s.address)
	}
	return addresses
}

func filesOf(sockets []socket) []*os.File {
	var files []*os.File
	for _, s := range sockets {
		files = append(files, s.file)
	}
	return files
}

// differsFrom says in words how the sockets differ from what the configuration asks for.
func differsFrom(bind, have []config.Address) string {
	var missing, extra []config.Address
	for _, a := range bind {
		if !slices.Contains(have, a) {
			missing = append(missing, a)
		}
	}
	for _, a := range have {
		if !slices.Contains(bind, a) {
			extra = append(extra, a)
		}
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "without "+config.JoinBind(missing))
	}
	if len(extra) > 0 {
		parts = append(parts, "with "+config.JoinBind(extra)+" in addition")
	}
	return strings.Join(parts, " and ")
}
