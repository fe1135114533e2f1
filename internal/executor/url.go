package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

const maxCallbackURL = 8 << 10 // bytes

// decodeCallbackURL never puts the URL into an error: it may hold credentials.
func (r *shellRequest) decodeCallbackURL(raw json.RawMessage) error {
	var text string
	if err := decodeTo(&text, "a string")(raw); err != nil || text == "" {
		return err
	}
	u, err := url.Parse(text)
	if err == nil {
		u.RawQuery = escapeQuery(u.RawQuery)
	}
	switch {
	case len(text) > maxCallbackURL || err == nil && len(u.String()) > maxCallbackURL:
		return fmt.Errorf("is longer than %d bytes, counted with its escapes (%%C3%%A9 for é)",
			maxCallbackURL)
	case err != nil:
		return errors.New(
			"is not a valid URL: send one such as http://172.17.0.1:8088/api/v1/al/ID")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must begin with http:// or https://")
	case !isPort(u.Port()):
		return errors.New("has a port that is not 1 to 65535")
	case u.Hostname() == "":
		return errors.New("has no host: send one such as http://172.17.0.1:8088/api/v1/al/ID")
	case hasNamedZone(u.Hostname()):
		return errors.New("names the interface of its IPv6 address: " +
			"give the interface's number instead, as `ip link` shows it (%254 for 4)")
	case strings.ContainsFunc(u.Hostname(), notInHost):
		return errors.New("has a host with characters that no name or address has")
	}
	r.callbackURL = u
	return nil
}

// escapeQuery escapes what a request line cannot hold; net/url does that for the path only.
func escapeQuery(query string) string {
	var escaped strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>`, c) >= 0 {
			fmt.Fprintf(&escaped, "%%%02X", c)
			continue
		}
		escaped.WriteByte(c)
	}
	return escaped.String()
}

// hasNamedZone finds zones that the network role cannot resolve in its sandbox.
func hasNamedZone(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && strings.Trim(address.Zone(), "0123456789") != ""
}

// notInHost keeps characters out of the journal that would mislead an operator there. Names in
// other alphabets are names.
func notInHost(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) &&
		!strings.ContainsRune("-._:%", c)
}

// isPort accepts an empty text: the scheme has a port of its own.
func isPort(text string) bool {
	if text == "" {
		return true
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}
