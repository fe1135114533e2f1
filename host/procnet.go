package host

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// tcpSockets lists the sockets that keep others from an address: listening ones, or where there are
// none, those of connections.
func tcpSockets(address netip.AddrPort) []heldSocket {
	tables := []string{"/proc/net/tcp", "/proc/net/tcp6"} // a socket of IPv6 may take IPv4 as well, so it comes second
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

// conflicting reads a table of the kernel: number, local address, remote address, state, …, inode as
// the tenth column.
func conflicting(table string, address netip.AddrPort, listening bool) []heldSocket {
	const listen = "0A"
	var found []heldSocket
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) < 10 {
			continue
		}
		local, ok := parseLocal(columns[1])
		if ok && overlap(local, address) && (columns[3] == listen) == listening {
			found = append(found, heldSocket{address: local.String(), inode: columns[9]})
		}
	}
	return found
}

func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

// parseLocal reads 0100007F:1FA3, an address in words of the host's byte order and a port.
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

// unixSockets lists the sockets that listen on a path: number, references, protocol, flags, type, state,
// inode, path.
func unixSockets(path string) []heldSocket {
	const acceptsConnections = "00010000"
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
