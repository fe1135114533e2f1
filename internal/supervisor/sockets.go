package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
)

// socket is a listening socket for the network role.
type socket struct {
	file    *os.File
	address config.Address
	metrics bool // serves metrics only
}

// metricsSocket is the name that the socket unit of the metrics gives its sockets.
const metricsSocket = "metrics"

// inheritedSockets returns the sockets that systemd passed on, those for metrics last. One that
// cannot be used is an error.
func inheritedSockets() ([]socket, error) {
	var sockets []socket
	for i, f := range activation.Files(true) {
		if f == nil {
			return nil, fmt.Errorf("socket %d that was handed over is not open", i+1)
		}
		address, err := inspect(f)
		if err != nil {
			return nil, fmt.Errorf("cannot use socket %d that was handed over: %w; "+
				"hint: use ListenStream= lines only", i+1, err)
		}
		sockets = append(sockets, socket{f, address, f.Name() == metricsSocket})
	}
	ordinary, metrics := splitSockets(sockets)
	return slices.Concat(ordinary, metrics), nil
}

// completeSockets returns the sockets to serve on. Those of systemd are completed to BIND and
// METRICS_BIND of the configuration; without any, those of --bind and --metrics are opened.
func completeSockets(
	inherited []socket, o Options, settings config.Config, log *journal.Log,
) ([]socket, error) {
	bind, bySystemd := settings.Bind, os.Getenv("NOTIFY_SOCKET") != ""
	switch {
	case len(inherited) == 0 && (o.Bind != "" || !bySystemd):
		return openSockets(o.Bind, o.Metrics)
	case o.Bind != "":
		return nil, errors.New("--bind is for a start by hand, but systemd handed sockets over; " +
			"hint: change BIND in the configuration")
	case o.Metrics != "":
		return nil, errors.New("--metrics is for a start by hand; " +
			"hint: write METRICS_BIND in the configuration")
	}
	ordinary, metrics := splitSockets(inherited)
	if bySystemd {
		var err error
		if ordinary, err = followBind(ordinary, bind, log); err != nil {
			return nil, err
		}
		metrics = openMetrics(metrics, settings.MetricsBind, log)
	}
	if len(ordinary) == 0 {
		return nil, errors.New("no listening sockets were handed over but those for metrics; " +
			"hint: hand over one with another name for commands")
	}
	if difference := describeDifference(bind, addressesOf(ordinary)); difference != "" {
		logf(log, journal.Degraded(), "The listening sockets differ from BIND: serving %s; "+
			"hint: to follow BIND, run as root: %s", difference, config.Apply)
	}
	return slices.Concat(ordinary, metrics), nil
}

// followBind opens the addresses of bind that systemd did not hand over. A socket unit opens its
// addresses only when it is started, and closes those that BIND no longer names when systemd
// reloads its units. An address that cannot be opened is logged; without any socket it is an error.
func followBind(
	handedOver []socket, bind []config.Address, log *journal.Log,
) ([]socket, error) {
	sockets := slices.Clone(handedOver)
	var opened []config.Address
	var failed []error
	for _, a := range missingIn(addressesOf(handedOver), bind) {
		f, err := listen(a, true)
		if err != nil {
			failed = append(failed, listenError(a, err))
			continue
		}
		sockets = append(sockets, socket{f, a, false})
		opened = append(opened, a)
	}
	if len(sockets) == 0 {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		logf(log, journal.Degraded(), "An address of BIND is not served: %v", err)
	}
	if len(opened) > 0 {
		logf(log, journal.Degraded(), "Opened by the daemon itself: %s. The socket unit has not "+
			"been started since BIND was changed, so a restart refuses connections there for a "+
			"moment; hint: after the next stop and start systemd holds all addresses",
			config.JoinBind(opened))
	}
	return sockets, nil
}

// openMetrics opens the addresses of METRICS_BIND that systemd did not hand over. One that cannot
// be opened is logged: commands are served without metrics.
func openMetrics(handedOver []socket, bind []config.Address, log *journal.Log) []socket {
	sockets := slices.Clone(handedOver)
	for _, a := range missingIn(addressesOf(handedOver), bind) {
		f, err := listen(a, true)
		if err != nil {
			logf(log, journal.Degraded(), "An address of METRICS_BIND is not served: %v",
				listenError(a, err))
			continue
		}
		sockets = append(sockets, socket{f, a, true})
	}
	return sockets
}

// openSockets opens the sockets of a start by hand, those for metrics last.
func openSockets(bind, metrics string) ([]socket, error) {
	if bind == "" {
		return nil, errors.New("no listening sockets were handed over; hint: start it with " +
			"`systemctl start dataflux-func-sidecar`, or by hand with --bind ADDRESSES")
	}
	sockets, err := listenAll("--bind", bind, false)
	if err != nil || metrics == "" {
		return sockets, err
	}
	forMetrics, err := listenAll("--metrics", metrics, true)
	return slices.Concat(sockets, forMetrics), err
}

func listenAll(option, bind string, metrics bool) ([]socket, error) {
	addresses, err := config.ParseBind(bind)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	var sockets []socket
	for _, a := range addresses {
		f, err := listen(a, false)
		if err != nil {
			return nil, listenError(a, err)
		}
		sockets = append(sockets, socket{f, a, metrics})
	}
	return sockets, nil
}

// listenError returns the error for an address that cannot be listened on, with a hint where the
// operator can do something.
func listenError(a config.Address, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno // the library's error repeats the address
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && a.Network == "unix":
		hint = "stop the process that `ss -lxp` shows, or give another path"
	case errors.Is(err, syscall.EADDRINUSE):
		hint = fmt.Sprintf("stop the process that `ss -ltnp 'sport = :%d'` shows, "+
			"or give another address", a.AddrPort.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "give an address of this host: `ip -brief address` shows them"
	case errors.Is(err, syscall.EACCES) && a.Network == "tcp":
		hint = "give a port above 1023, or start it as root"
	default:
		return fmt.Errorf("cannot listen on %s: %w", a, err)
	}
	return fmt.Errorf("cannot listen on %s: %w; hint: %s", a, err, hint)
}

// inspect asks the kernel for the address of a socket, as old versions of systemd give no names.
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
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return config.Address{}, err
	}
	if kind != unix.SOCK_STREAM { // a read would cut packets
		return config.Address{}, errors.New("it is no stream socket")
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

// listen opens a listening socket as the socket unit does: [::] without IPv4. With atBoot the
// address may be on no interface yet, and the directory of a Unix socket may be missing.
func listen(a config.Address, atBoot bool) (*os.File, error) {
	if a.Network == "unix" {
		if atBoot {
			_ = os.MkdirAll(filepath.Dir(a.Path), 0o755) // the error of the next call says more
		}
		return listenUnix(a.Path)
	}
	network := "tcp4"
	if a.AddrPort.Addr().Is6() {
		network = "tcp6"
	}
	var settings net.ListenConfig
	settings.SetMultipathTCP(false)
	if atBoot {
		settings.Control = setFreeBind
	}
	l, err := settings.Listen(context.Background(), network, a.AddrPort.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	return l.(*net.TCPListener).File()
}

func setFreeBind(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, failed)
}

// listenUnix listens as systemd does for socket units: a socket file that no process listens on is
// replaced, and every local user may connect, as to a loopback address.
func listenUnix(path string) (*os.File, error) {
	if isStale(path) {
		_ = os.Remove(path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the duplicate below needs the file
	defer func() { _ = l.Close() }()
	if err := openToAll(path); err != nil {
		return nil, err
	}
	return l.File()
}

// openToAll lets everybody connect to a Unix socket. Where commands can write to its directory, one
// may have put a link in its place meanwhile, which must not be followed.
func openToAll(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("another process has replaced the socket")
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o666)
}

// isStale says that the path is a socket on which no process listens.
func isStale(path string) bool {
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

// splitSockets separates the sockets for metrics from the others.
func splitSockets(sockets []socket) (ordinary, metrics []socket) {
	for _, s := range sockets {
		if s.metrics {
			metrics = append(metrics, s)
		} else {
			ordinary = append(ordinary, s)
		}
	}
	return ordinary, metrics
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

// describeDifference says which addresses of BIND are missing in have, and which are in addition.
// It is empty if they agree.
func describeDifference(bind, have []config.Address) string {
	var parts []string
	if missing := missingIn(have, bind); len(missing) > 0 {
		parts = append(parts, "without "+config.JoinBind(missing))
	}
	if extra := missingIn(bind, have); len(extra) > 0 {
		parts = append(parts, "with "+config.JoinBind(extra)+" in addition")
	}
	return strings.Join(parts, " and ")
}

// missingIn returns the addresses of wanted that have lacks.
func missingIn(have, wanted []config.Address) []config.Address {
	return slices.DeleteFunc(slices.Clone(wanted), func(a config.Address) bool {
		return slices.Contains(have, a)
	})
}
