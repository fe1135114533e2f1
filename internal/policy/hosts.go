package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Hosts says which hosts a request may be signed for: the authority of its HTTP message signature.
type Hosts struct {
	// Listed has names and addresses in lower case, IPv6 ones in brackets, each with a port or for
	// all ports. None: the address of the connection, and Name with the port of the connection.
	Listed []string
	Bound  []netip.AddrPort // where this host listens; its role for the network may lie
	Name   string           // the host's name; empty: it has none
}

// NewHosts returns the hosts of a configuration. The name is that of the host.
func NewHosts(listed []string, bound []netip.AddrPort, name string) Hosts {
	name = strings.ToLower(name)
	if name == "localhost" { // every host has it
		name = ""
	}
	return Hosts{Listed: listed, Bound: bound, Name: name}
}

// Accepts reports whether a request may be signed for the authority, HOST or HOST:PORT in lower
// case. Local is the address of this host that its connection came in at, and isUnix says that it
// was a Unix socket instead.
func (h Hosts) Accepts(authority, local string, isUnix bool) bool {
	host, port := SplitAuthority(authority)
	if len(h.Listed) > 0 {
		return slices.Contains(h.Listed, authority) || slices.Contains(h.Listed, host)
	}
	if isUnix {
		return authority == "localhost"
	}
	at, err := netip.ParseAddrPort(local)
	if err != nil || !slices.ContainsFunc(h.Bound, func(b netip.AddrPort) bool {
		return b.Port() == at.Port() && (b.Addr() == at.Addr() || b.Addr().IsUnspecified())
	}) {
		return false
	}
	switch hasDefaultPort := at.Port() == 80 || at.Port() == 443; {
	case port != strconv.Itoa(int(at.Port())) && !(host == authority && hasDefaultPort):
		return false
	case host == "localhost":
		return at.Addr().IsLoopback()
	case host == h.Name:
		return host != ""
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip == at.Addr()
}

// SplitAuthority returns the parts of HOST:PORT; the port of HOST alone is empty. An IPv6 address
// keeps its brackets.
func SplitAuthority(authority string) (host, port string) {
	at := strings.LastIndexByte(authority, ':')
	if at < 0 || strings.HasSuffix(authority, "]") {
		return authority, ""
	}
	return authority[:at], authority[at+1:]
}
