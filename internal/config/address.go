package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

const (
	maxAddresses  = 64
	maxSocketPath = 107 // bytes in sun_path, without the ending NUL
)

// Address is one address to listen on, comparable by ==.
type Address struct {
	Network  string         // "tcp" or "unix"
	AddrPort netip.AddrPort // of "tcp"
	Path     string         // of "unix"
}

// String returns the address in the form of BIND and of systemd.
func (a Address) String() string {
	if a.Network == "unix" {
		return a.Path
	}
	return a.AddrPort.String()
}

// JoinBind is the reverse of ParseBind.
func JoinBind(addresses []Address) string { return strings.Join(Texts(addresses), ",") }

// Texts returns the addresses in the form of BIND and of systemd.
func Texts(addresses []Address) []string {
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		texts[i] = address.String()
	}
	return texts
}

var (
	errASCII = errors.New("holds a control character or one that is not ASCII, such as the " +
		"fullwidth comma (，) or colon (：): write all addresses in ASCII on one line, separated " +
		"by commas")
	errAddress = errors.New("must be an IP address with a port from 1 to 65535, or the absolute " +
		"path of a Unix socket: write for example 127.0.0.1:8099, [::1]:8099 or " +
		"/run/dataflux-func-sidecar.sock")
)

// ParseBind reads listening addresses separated by commas, 64 at most. Its errors never repeat s:
// a key may have been written to BIND by mistake.
func ParseBind(s string) ([]Address, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r > '~' || r < ' ' && r != '\t' }) {
		return nil, errASCII
	}
	entries := strings.Split(s, ",")
	if len(entries) > maxAddresses {
		return nil, fmt.Errorf("lists more than %d addresses: write fewer", maxAddresses)
	}
	addresses := make([]Address, 0, len(entries))
	for i, entry := range entries {
		address, err := parseAddress(strings.Trim(entry, " \t"))
		if err == nil {
			err = checkOverlap(address, addresses)
		}
		if err != nil {
			return nil, fmt.Errorf("address %d of %d %w", i+1, len(entries), err)
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

func parseAddress(entry string) (Address, error) {
	if strings.HasPrefix(entry, "/") {
		return parseSocketPath(entry)
	}
	parsed, err := netip.ParseAddrPort(entry)
	if err != nil || parsed.Port() == 0 {
		return Address{}, errAddress
	}
	switch ip := parsed.Addr(); {
	case ip.Zone() != "":
		return Address{}, errors.New("has a zone (%…), which is not supported: write an address " +
			"without one")
	case ip.Is4In6():
		return Address{}, fmt.Errorf("is an IPv4 address inside an IPv6 one: write %s",
			netip.AddrPortFrom(ip.Unmap(), parsed.Port()))
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return Address{}, errors.New("is a multicast or broadcast address, on which nothing can " +
			"listen: write an address of this host")
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return Address{}, errors.New("is an IPv6 link-local address, which needs a zone and is " +
			"not supported: write another address of this host")
	}
	return Address{Network: "tcp", AddrPort: parsed}, nil
}

// parseSocketPath refuses a path that systemd, TOML or a shell would read differently.
func parseSocketPath(entry string) (Address, error) {
	switch {
	case len(entry) > maxSocketPath:
		return Address{}, fmt.Errorf("is a path of more than %d bytes, the most that a Unix "+
			"socket can have: write a shorter one", maxSocketPath)
	case strings.ContainsFunc(entry, notInPaths):
		return Address{}, errors.New("is a path with a character other than letters, digits and " +
			"/ . _ - + @ : ~ in it: write it with these only")
	case path.Clean(entry) != entry || entry == "/":
		return Address{}, errors.New("is not a clean path: write it without //, /./, /../ and " +
			"without / at its end")
	}
	return Address{Network: "unix", Path: entry}, nil
}

func notInPaths(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("/._-+@:~", r)
}

// checkOverlap refuses an address for which bind(2) would fail after one of the earlier addresses.
func checkOverlap(address Address, earlier []Address) error {
	for i, other := range earlier {
		switch {
		case address == other:
			return fmt.Errorf("is the same as address %d: write it once", i+1)
		case isWildcardOf(other, address):
			return fmt.Errorf("is part of address %d, %s, already: leave one of the two out", i+1,
				other)
		case isWildcardOf(address, other):
			return fmt.Errorf("takes in address %d, %s, already: leave one of the two out", i+1,
				other)
		}
	}
	return nil
}

// isWildcardOf reports whether a is the wildcard address of b's family and port. [::] is IPv6 only,
// so it does not overlap with 0.0.0.0.
func isWildcardOf(a, b Address) bool {
	if a.Network != "tcp" || b.Network != "tcp" || a.AddrPort.Port() != b.AddrPort.Port() {
		return false
	}
	wildcard := a.AddrPort.Addr()
	return wildcard.IsUnspecified() && wildcard.Is4() == b.AddrPort.Addr().Is4()
}
