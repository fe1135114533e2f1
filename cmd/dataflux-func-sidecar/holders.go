package main

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

	"dataflux-func-sidecar/config"
)

// holder is a process that has a socket open.
type holder struct {
	pid       int
	name      string
	inService bool // it runs in the service's own cgroup, as the original Sidecar does before an upgrade
}

func (h holder) isSystemd() bool { return h.pid == 1 }

// describe names the holders. systemd keeps a copy of every socket that it hands over, so it is named
// only where nobody else is.
func describe(holders []holder) string {
	var names []string
	for _, h := range holders {
		switch {
		case h.isSystemd() && len(holders) > 1:
		case h.isSystemd():
			names = append(names, "systemd, for a socket unit that `systemctl list-sockets` shows")
		default:
			names = append(names, fmt.Sprintf("%s (PID %d)", h.name, h.pid))
		}
	}
	if len(names) == 0 {
		return "a process that cannot be seen from here, such as one of another container"
	}
	return strings.Join(names, ", ")
}

// findHolders looks for the processes that have one of the sockets open.
func findHolders(inodes []string) []holder {
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var holders []holder
	for _, descriptor := range descriptors {
		target, err := os.Readlink(descriptor)
		if err != nil || !slices.Contains(inodes, socketInode(target)) {
			continue // most often it was closed meanwhile
		}
		pid, _ := strconv.Atoi(strings.Split(descriptor, "/")[2])
		if !slices.ContainsFunc(holders, func(h holder) bool { return h.pid == pid }) {
			holders = append(holders, holderFrom(pid))
		}
	}
	return holders
}

// socketInode is 4711 of socket:[4711].
func socketInode(target string) string {
	inode, _ := strings.CutPrefix(target, "socket:[")
	return strings.TrimSuffix(inode, "]")
}

func holderFrom(pid int) holder {
	folder := fmt.Sprintf("/proc/%d/", pid)
	name, err := os.ReadFile(folder + "comm") // cut to 15 bytes
	h := holder{pid: pid, name: strings.TrimSpace(string(name))}
	if program, linkErr := os.Readlink(folder + "exe"); linkErr == nil && err == nil {
		base := strings.TrimSuffix(filepath.Base(program), " (deleted)") // as after an upgrade
		if strings.HasPrefix(base, h.name) {
			h.name = base
		}
	}
	cgroups, _ := os.ReadFile(folder + "cgroup")
	h.inService = strings.Contains(string(cgroups)+"\n", "/dataflux-func-sidecar.service\n") ||
		strings.Contains(string(cgroups), "/dataflux-func-sidecar.service/")
	return h
}

// tcpSockets lists the inodes of the sockets that keep others from an address: listening ones, or where
// none does, those of connections.
func tcpSockets(address config.Address) []string {
	sockets := readTCP("/proc/net/tcp")
	if address.AddrPort.Addr().Is6() {
		sockets = nil
	}
	six := readTCP("/proc/net/tcp6")
	for _, listening := range []bool{true, false} {
		// A socket of IPv6 may take IPv4 as well, so these come second for an IPv4 address.
		for _, table := range [][]tcpSocket{sockets, six} {
			if inodes := conflicting(table, address.AddrPort, listening); len(inodes) > 0 {
				return inodes
			}
		}
	}
	return nil
}

func conflicting(table []tcpSocket, address netip.AddrPort, listening bool) []string {
	var inodes []string
	for _, s := range table {
		ip := s.local.Addr().Unmap()
		same := ip == address.Addr() || ip.IsUnspecified() || address.Addr().IsUnspecified()
		if same && s.local.Port() == address.Port() && s.listening == listening {
			inodes = append(inodes, s.inode)
		}
	}
	return inodes
}

type tcpSocket struct {
	local     netip.AddrPort
	listening bool
	inode     string
}

// readTCP reads a table of the kernel: number, local address, remote address, state, …, inode as the tenth.
func readTCP(path string) []tcpSocket {
	const listen = "0A"
	text, _ := os.ReadFile(path)
	var sockets []tcpSocket
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) < 10 {
			continue
		}
		if local, ok := parseLocal(columns[1]); ok {
			sockets = append(sockets, tcpSocket{local, columns[3] == listen, columns[9]})
		}
	}
	return sockets
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
	return netip.AddrPortFrom(ip, uint16(number)), ok
}

// unixSockets lists the inodes of the sockets that listen on a path: number, references, protocol,
// flags, type, state, inode, path.
func unixSockets(path string) []string {
	const acceptsConnections = "00010000"
	text, _ := os.ReadFile("/proc/net/unix")
	var inodes []string
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) == 8 && columns[3] == acceptsConnections && columns[7] == path {
			inodes = append(inodes, columns[6])
		}
	}
	return inodes
}
