package host

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/escape"
)

// Marks of a socket that listens: the state in /proc/net/tcp, the flags in /proc/net/unix.
const (
	listenState        = "0A"
	acceptsConnections = "00010000"
)

// heldSocket is a socket of this host, with the processes that have it open.
type heldSocket struct {
	address string
	inode   string
	holders []holder
}

type holder struct {
	pid       int
	name      string
	inService bool // in the cgroup of the service; so is the original Sidecar before an upgrade
}

func (h holder) isSystemd() bool { return h.pid == 1 }

// isOurs reports whether the service has the socket, or systemd for the service. listen are the
// addresses of its active socket unit.
func (s heldSocket) isOurs(listen []string) bool {
	return slices.ContainsFunc(s.holders, func(h holder) bool {
		return h.inService || h.isSystemd() && slices.Contains(listen, s.address)
	})
}

// socketsOn lists the sockets that occupy an address, with their holders.
func socketsOn(address config.Address) []heldSocket {
	if address.Network == "unix" {
		return withHolders(unixSockets(address.Path))
	}
	return withHolders(tcpSockets(address.AddrPort))
}

// tcpSockets lists the sockets because of which bind(2) fails: listening ones, or if there are
// none, those of connections.
func tcpSockets(address netip.AddrPort) []heldSocket {
	tables := []string{"/proc/net/tcp", "/proc/net/tcp6"} // an IPv6 socket may take IPv4 as well
	if address.Addr().Is6() {
		tables = tables[1:]
	}
	for _, listening := range []bool{true, false} {
		for _, table := range tables {
			text, _ := os.ReadFile(table)
			if found := conflicting(string(text), address, listening); len(found) > 0 {
				return found
			}
		}
	}
	return nil
}

// conflicting parses /proc/net/tcp. Its columns are number, local address, remote address, state,
// and inode as the tenth.
func conflicting(table string, address netip.AddrPort, listening bool) []heldSocket {
	var found []heldSocket
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) < 10 {
			continue
		}
		local, ok := parseLocal(columns[1])
		if ok && overlap(local, address) && (columns[3] == listenState) == listening {
			found = append(found, heldSocket{address: local.String(), inode: columns[9]})
		}
	}
	return found
}

func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() ||
		b.Addr().IsUnspecified())
}

// parseLocal parses 0100007F:1FA3, an address in words of the host's byte order and a port.
func parseLocal(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := 0; word < len(raw); word += 4 {
		binary.NativeEndian.PutUint32(raw[word:], binary.BigEndian.Uint32(raw[word:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok
}

// unixSockets lists the sockets that listen on a path. The columns of /proc/net/unix are number,
// reference count, protocol, flags, type, state, inode and path.
func unixSockets(path string) []heldSocket {
	text, _ := os.ReadFile("/proc/net/unix")
	var found []heldSocket
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) == 8 && columns[3] == acceptsConnections && columns[7] == path {
			found = append(found, heldSocket{address: path, inode: columns[6]})
		}
	}
	return found
}

// withHolders adds the processes that have the sockets open.
func withHolders(sockets []heldSocket) []heldSocket {
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, descriptor := range descriptors {
		target, err := os.Readlink(descriptor)
		if err != nil {
			continue // it was closed meanwhile
		}
		pid, _ := strconv.Atoi(strings.Split(descriptor, "/")[2])
		for i, s := range sockets {
			if target == "socket:["+s.inode+"]" {
				sockets[i].holders = append(sockets[i].holders, holderFrom(pid))
			}
		}
	}
	return sockets
}

func holderFrom(pid int) holder {
	folder := fmt.Sprintf("/proc/%d/", pid)
	comm, _ := os.ReadFile(folder + "comm") // cut to 15 bytes
	h := holder{pid: pid, name: strings.TrimSuffix(string(comm), "\n")}
	program, _ := os.Readlink(folder + "exe")
	// (deleted) is there after an upgrade of that program.
	if base := strings.TrimSuffix(filepath.Base(program), " (deleted)"); strings.HasPrefix(base,
		h.name) {
		h.name = base
	}
	h.name = escape.Line(h.name, 0) // any process can choose its name
	h.inService = InService(pid)
	return h
}

// Listeners returns the addresses on which a process listens: TCP, and Unix sockets with a path. It
// fails if there is no such process, or its descriptors cannot be read.
func Listeners(pid int) (addresses []config.Address, err error) {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("cannot see the sockets of process %d: %w", pid, err)
	}
	held := map[string]bool{}
	for _, entry := range entries {
		// One that was closed meanwhile has no target.
		target, _ := os.Readlink(filepath.Join(folder, entry.Name()))
		held[target] = true
	}
	for _, s := range listening() {
		if held["socket:["+s.inode+"]"] {
			addresses = append(addresses, s.Address)
		}
	}
	return addresses, nil
}

// listener is a listening socket of this host.
type listener struct {
	config.Address
	inode string
}

func listening() (all []listener) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			columns := strings.Fields(line)
			if len(columns) < 10 || columns[3] != listenState {
				continue
			}
			if local, ok := parseLocal(columns[1]); ok {
				address := config.Address{Network: "tcp", AddrPort: local}
				all = append(all, listener{address, columns[9]})
			}
		}
	}
	text, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) == 8 && columns[3] == acceptsConnections {
			address := config.Address{Network: "unix", Path: columns[7]}
			all = append(all, listener{address, columns[6]})
		}
	}
	return all
}

// InService reports whether a process is in the cgroup of the service: one of the daemon's, or of a
// command.
func InService(pid int) bool {
	cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return isOfService(string(cgroups))
}

// isOfService is false for a cgroup of that name below user.slice, where users make their own.
func isOfService(cgroups string) bool {
	for line := range strings.Lines(cgroups) {
		names := strings.Split(strings.TrimSpace(line), "/")
		at := slices.Index(names, "dataflux-func-sidecar.service")
		if at >= 0 && !slices.Contains(names[:at], "user.slice") {
			return true
		}
	}
	return false
}

// describe lists the holders. systemd keeps a copy of every socket that it hands over, so it is
// listed only if it is the only holder.
func describe(sockets []heldSocket) string {
	var names []string
	for _, s := range sockets {
		for _, h := range s.holders {
			name := fmt.Sprintf("%s (PID %d)", h.name, h.pid)
			switch {
			case h.isSystemd() && len(s.holders) > 1:
				continue
			case h.isSystemd():
				name = "systemd, for a socket unit that systemctl list-sockets shows"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return "a process that cannot be seen from here, such as one of another container"
	}
	return strings.Join(names, " and ")
}
