package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

const (
	mostAddresses = 64
	// longestPath is what sun_path holds beside its ending NUL.
	longestPath = 107
	otherForms  = "write for example 127.0.0.1:8099, [::1]:8099 or /run/dataflux-func-sidecar.sock"
)

// Address is one address to listen on, comparable by ==.
type Address struct {
	Network  string         // "tcp" or "unix"
	AddrPort netip.AddrPort // of "tcp"
	Path     string         // of "unix"
}

// String is the address in the form in which BIND and systemd write it.
func (a Address) String() string {
	if a.Network == "unix" {
		return a.Path
	}
	return a.AddrPort.String()
}

// JoinBind is the reverse of ParseBind.
func JoinBind(addresses []Address) string {
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		texts[i] = address.String()
	}
	return strings.Join(texts, ",")
}

// ParseBind reads listening addresses separated by commas. Its errors repeat
// nothing but what was understood as an address or a port: a key that was
// written to BIND by mistake stays out of them.
func ParseBind(s string) ([]Address, error) {
	if err := refuseOtherScripts(s); err != nil {
		return nil, err
	}
	entries := strings.Split(s, ",")
	if len(entries) > mostAddresses {
		return nil, fmt.Errorf("lists more than %d addresses: write fewer", mostAddresses)
	}
	addresses := make([]Address, 0, len(entries))
	for i, entry := range entries {
		address, err := parseAddress(strings.Trim(entry, " \t"))
		if err == nil {
			err = refuseOverlap(address, addresses)
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
		return parsePath(entry)
	}
	parsed, err := netip.ParseAddrPort(entry)
	if err != nil {
		return Address{}, errors.New(explain(entry))
	}
	if err := checkAddrPort(parsed); err != nil {
		return Address{}, err
	}
	return Address{Network: "tcp", AddrPort: parsed}, nil
}

func checkAddrPort(a netip.AddrPort) error {
	ip := a.Addr()
	switch {
	case a.Port() == 0:
		return errors.New("has port 0: write a port from 1 to 65535")
	case ip.Zone() != "":
		return errors.New("has a zone (%…), which is not supported: write an address without one")
	case ip.Is4In6():
		return fmt.Errorf("is an IPv4 address inside an IPv6 one: write %s", netip.AddrPortFrom(ip.Unmap(), a.Port()))
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("is a multicast or broadcast address, on which nothing can listen: write an address of this host")
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return errors.New("is an IPv6 link-local address, which needs a zone and is not supported: write another address of this host")
	}
	return nil
}

// parsePath takes the path of a Unix socket. What systemd, the configuration or
// a shell could read as anything but itself is refused.
func parsePath(entry string) (Address, error) {
	switch {
	case len(entry) > longestPath:
		return Address{}, fmt.Errorf("is a path of more than %d bytes, the longest that a Unix socket can have: write a shorter one", longestPath)
	case strings.ContainsFunc(entry, notInPaths):
		return Address{}, errors.New("is a path with a character other than letters, digits and / . _ - + @ : ~ in it: write it with these only")
	case path.Clean(entry) != entry || entry == "/":
		return Address{}, errors.New("is not a clean path: write it without //, /./, /../ and without / at its end")
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

// refuseOverlap finds what the kernel would refuse to bind a second time.
func refuseOverlap(address Address, earlier []Address) error {
	for i, other := range earlier {
		switch {
		case address == other:
			return fmt.Errorf("is the same as address %d: write it once", i+1)
		case covers(other, address):
			return fmt.Errorf("is part of address %d, %s, already: leave one of the two out", i+1, other)
		case covers(address, other):
			return fmt.Errorf("takes in address %d, %s, already: leave one of the two out", i+1, other)
		}
	}
	return nil
}

// covers says whether a is the wildcard that b belongs to. [::] means IPv6
// alone, so it may stand beside 0.0.0.0.
func covers(a, b Address) bool {
	if a.Network != "tcp" || b.Network != "tcp" || a.AddrPort.Port() != b.AddrPort.Port() {
		return false
	}
	wildcard := a.AddrPort.Addr()
	return wildcard.IsUnspecified() && wildcard.Is4() == b.AddrPort.Addr().Is4()
}
