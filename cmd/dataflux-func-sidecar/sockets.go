package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/journal"
)

// socket is a listening socket that the network role will serve.
type socket struct {
	file    *os.File
	address config.Address
	metrics bool // it serves metrics and nothing else
}

// metricsSocket is what the socket unit of the metrics calls its sockets.
const metricsSocket = "metrics"

// inheritedSockets takes what systemd hands over, every one of it, or says which cannot be used. Those for
// metrics come last.
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
		sockets = append(sockets, socket{f, address, f.Name() == metricsSocket})
	}
	ordinary, forMetrics := divided(sockets)
	return slices.Concat(ordinary, forMetrics), nil
}

// divided tells the sockets for metrics from the others.
func divided(sockets []socket) (ordinary, forMetrics []socket) {
	for _, s := range sockets {
		if s.metrics {
			forMetrics = append(forMetrics, s)
		} else {
			ordinary = append(ordinary, s)
		}
	}
	return ordinary, forMetrics
}

// inspect asks the kernel what a descriptor is; old systemd gives sockets no names.
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

// completeSockets compares the sockets that were handed over with BIND, or opens those of --bind.
func completeSockets(sockets []socket, o serveOptions, settings config.Config, log *journal.Log) ([]socket, error) {
	if len(sockets) == 0 {
		return socketsByHand(o)
	}
	ordinary, _ := divided(sockets)
	switch {
	case o.bind != "":
		return nil, errors.New("--bind is for a start by hand, but systemd handed sockets over: change BIND in the configuration instead")
	case o.metrics != "":
		return nil, errors.New("--metrics is for a start by hand, but systemd handed sockets over: enable dataflux-func-sidecar-metrics.socket instead")
	case len(ordinary) == 0:
		return nil, errNoSockets(" but those for metrics")
	}
	if how := differsFrom(settings.Bind, addressesOf(ordinary)); how != "" {
		log.Write(journal.Degraded(), fmt.Sprintf("The listening sockets differ from BIND: serving %s. To follow BIND, run as root: "+
			"dataflux-func-sidecar configure && %s", how, config.ApplyBind), nil)
	}
	return sockets, nil
}

// socketsByHand opens those of --bind and --metrics.
func socketsByHand(o serveOptions) ([]socket, error) {
	switch {
	case o.bind != "":
	case o.metrics == "" && os.Getenv("NOTIFY_SOCKET") != "": // started by systemd
		return nil, errNoSockets("")
	default:
		return nil, errors.New("no listening sockets were handed over: start it with `systemctl start dataflux-func-sidecar`, or by hand with --bind ADDRESSES")
	}
	addresses, err := config.ParseBind(o.bind)
	if err != nil {
		return nil, fmt.Errorf("--bind: %w", err)
	}
	sockets, err := openSockets(addresses, false)
	if err != nil || o.metrics == "" {
		return sockets, err
	}
	if addresses, err = config.ParseBind(o.metrics); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	forMetrics, err := openSockets(addresses, true)
	return slices.Concat(sockets, forMetrics), err
}

// errNoSockets names what helps where a start or restart alone would fail again.
func errNoSockets(but string) error {
	return errors.New("systemd handed no listening sockets over" + but + ": it has closed those of before if it was reloaded " +
		"after a change of BIND, and opens those of now when root runs: " + config.ApplyBind)
}

// openSockets listens by itself, for a start without systemd.
func openSockets(addresses []config.Address, forMetrics bool) ([]socket, error) {
	var sockets []socket
	for _, a := range addresses {
		f, err := listen(a)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", a, err)
		}
		sockets = append(sockets, socket{f, a, forMetrics})
	}
	return sockets, nil
}

func listen(a config.Address) (*os.File, error) {
	if a.Network == "unix" {
		return listenUnix(a.Path)
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

// listenUnix does as systemd does with the socket units: a socket that nobody listens on any more is replaced,
// and every local user may connect, as to an address on loopback.
func listenUnix(path string) (*os.File, error) {
	if isLeftOver(path) {
		_ = os.Remove(path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the file lives as long as the duplicate below
	defer func() { _ = l.Close() }()
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, err
	}
	return l.File()
}

// isLeftOver says that the path is a socket, and that nobody listens on it.
func isLeftOver(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
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
