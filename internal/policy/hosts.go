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
	// all ports. None: what the other fields say.
	Listed []string
	Bound  []netip.AddrPort // where this host listens; its role for the network may lie
	Unix   bool             // it listens on a Unix socket too
	Name   string           // OwnName of this host
}

// OwnName returns a host's name in lower case, or an empty text for one that many hosts have.
func OwnName(hostname string) string {
	name := strings.ToLower(hostname)
	first, _, _ := strings.Cut(name, ".")
	if first == "localhost" || strings.HasSuffix(name, ".localhost") || name == "(none)" {
		return ""
	}
	return name
}

// Accepts reports whether a request may be signed for the authority, HOST or HOST:PORT in lower
// case. Local is the address of this host that its connection came in at, and isUnix says that it
// was a Unix socket instead.
func (h Hosts) Accepts(authority, local string, isUnix bool) bool {
	if len(h.Listed) > 0 {
		host, port := SplitAuthority(authority)
		return slices.ContainsFunc(h.Listed, func(listed string) bool {
			isDefault := port == "" && (listed == host+":80" || listed == host+":443")
			return listed == authority || listed == host || isDefault
		})
	}
	if isUnix {
		return h.Unix && authority == "localhost"
	}
	at, err := netip.ParseAddrPort(local)
	if err != nil || !slices.ContainsFunc(h.Bound, func(b netip.AddrPort) bool {
		return b.Port() == at.Port() && (b.Addr() == at.Addr() || b.Addr().IsUnspecified())
	}) {
		return false
	}
	port := ":" + strconv.Itoa(int(at.Port()))
	host, hasPort := strings.CutSuffix(authority, port)
	switch {
	case !hasPort && at.Port() != 80 && at.Port() != 443: // the default ports
		return false
	case host == "localhost":
		return at.Addr().IsLoopback()
	case host == h.Name:
		return host != ""
	}
	addressed, err := netip.ParseAddrPort(host + port)
	return err == nil && addressed == at
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
