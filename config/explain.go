package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// refuseOtherScripts finds what an input method for Chinese leaves behind, and
// other characters that look like those that are meant.
func refuseOtherScripts(s string) error {
	meant := map[rune]string{
		'，': "comma (,)", '、': "comma (,)", '：': "colon (:)", '；': "comma (,)",
		'。': "full stop (.)", '．': "full stop (.)", '\u3000': "space", '\u00a0': "space",
	}
	for _, r := range s {
		if ascii, found := meant[r]; found {
			return fmt.Errorf("holds the Chinese or fullwidth character %q: write the ASCII %s instead", r, ascii)
		}
		if r > '~' {
			return errors.New("holds a character that is not ASCII, such as a fullwidth digit: write addresses in ASCII only")
		}
		if r < ' ' && r != '\t' {
			return errors.New("holds a line break or another control character: write all addresses in one line, separated by commas")
		}
	}
	return nil
}

// explain says what to write instead of an entry that is no address. The first
// explanation that fits is taken, from the most particular to the most general.
func explain(entry string) string {
	for _, explanation := range []func(string) string{
		explainEmpty, explainSeparator, explainScheme, explainAbstract,
		explainBarePort, explainBareAddress, explainDots, explainPort, explainHost,
	} {
		if text := explanation(entry); text != "" {
			return text
		}
	}
	return "is not an address: " + otherForms
}

func explainEmpty(entry string) string {
	if entry == "" {
		return "is empty: remove the extra comma, or " + otherForms
	}
	return ""
}

func explainSeparator(entry string) string {
	if strings.ContainsAny(entry, " \t;|") {
		return "holds a space or a semicolon: separate addresses by commas"
	}
	return ""
}

func explainScheme(entry string) string {
	scheme, rest, found := strings.Cut(entry, ":/")
	if !found || strings.ContainsAny(scheme, "./[:") {
		return ""
	}
	if strings.EqualFold(scheme, "unix") {
		return "starts with unix: — write the path alone, such as /run/dataflux-func-sidecar.sock"
	}
	if address, err := parseAddress(strings.Trim(rest, "/")); err == nil {
		return fmt.Sprintf("is a URL: write the address alone, %s", address)
	}
	return "is a URL: write address and port alone, without http:// and without a path"
}

func explainAbstract(entry string) string {
	if strings.HasPrefix(entry, "@") {
		return "is an abstract Unix socket, which has no file modes to guard it: write an absolute path"
	}
	return ""
}

func explainBarePort(entry string) string {
	port, ok := portNumber(strings.TrimPrefix(entry, ":"))
	if !ok {
		return ""
	}
	return fmt.Sprintf("is a port alone: write 127.0.0.1:%d, or 0.0.0.0:%d for every IPv4 address of this host", port, port)
}

// explainBareAddress finds an address without a port, and an IPv6 address with
// a port but without brackets, which is an address without a port as well.
func explainBareAddress(entry string) string {
	bare := strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")
	ip, err := netip.ParseAddr(bare)
	if err != nil || ip.Zone() != "" {
		return ""
	}
	if head, port, ok := splitPort(entry); ok && ip.Is6() {
		if ip, err := netip.ParseAddr(head); err == nil {
			return fmt.Sprintf("has an IPv6 address without brackets: write %s", netip.AddrPortFrom(ip, port))
		}
	}
	return fmt.Sprintf("has no port: write %s", netip.AddrPortFrom(ip, 8099))
}

func explainDots(entry string) string {
	at := strings.LastIndexByte(entry, '.')
	if at < 0 {
		return ""
	}
	ip, err := netip.ParseAddr(entry[:at])
	port, ok := portNumber(entry[at+1:])
	if err != nil || !ok {
		return ""
	}
	return fmt.Sprintf("has a full stop before its port: did you mean %s?", netip.AddrPortFrom(ip, port))
}

// explainPort finds a good address with something else behind it.
func explainPort(entry string) string {
	head, port, found := cutLast(entry)
	ip, err := netip.ParseAddr(strings.Trim(head, "[]"))
	if !found || err != nil || ip.Zone() != "" {
		return ""
	}
	example := netip.AddrPortFrom(ip, 8099)
	if number, _, isPath := strings.Cut(port, "/"); isPath {
		if port, ok := portNumber(number); ok {
			return fmt.Sprintf("has a path after its port: write %s", netip.AddrPortFrom(ip, port))
		}
	}
	return fmt.Sprintf("has no port from 1 to 65535 after the colon: write for example %s", example)
}

func explainHost(entry string) string {
	head, port, found := splitPort(entry)
	if !found {
		head, port = entry, 8099
	}
	switch {
	case strings.EqualFold(head, "localhost"):
		return fmt.Sprintf("has a host name: write 127.0.0.1:%d", port)
	case head == "*":
		return fmt.Sprintf("has a * for the address: write 0.0.0.0:%d", port)
	case strings.IndexFunc(head, notInHosts) < 0 && found:
		return fmt.Sprintf("has no valid IP address: host names are not looked up; write the address itself, such as 127.0.0.1:%d", port)
	}
	return ""
}

func notInHosts(r rune) bool {
	return notInPaths(r) || strings.ContainsRune("/+@:~", r)
}

func splitPort(entry string) (head string, port uint16, ok bool) {
	head, number, found := cutLast(entry)
	if !found {
		return "", 0, false
	}
	port, ok = portNumber(number)
	return head, port, ok
}

func cutLast(entry string) (head, tail string, found bool) {
	at := strings.LastIndexByte(entry, ':')
	if at < 0 {
		return "", "", false
	}
	return entry[:at], entry[at+1:], true
}

func portNumber(text string) (uint16, bool) {
	port, err := strconv.ParseUint(text, 10, 16)
	return uint16(port), err == nil && port > 0
}
