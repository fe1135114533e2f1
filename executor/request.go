package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
)

const (
	maxTimeout     = 7 * 24 * time.Hour
	maxCallbackURL = 8 << 10 // bytes
)

// shellRequest is the body of POST /shell (source: PROTOCOL.md).
type shellRequest struct {
	command     string
	wait        bool
	workdir     string // empty: the default
	envs        []exec.Variable
	callbackURL *url.URL      // nil: none
	timeout     time.Duration // zero: the default
	jobID       string        // empty: a fresh one is made
	limits      limits
}

// decodeShell reads the body of POST /shell. A key that is unknown, there twice, or of the wrong type
// is an error that says what to send instead: a typing error must not run something else. A null is
// as good as absent.
func decodeShell(body []byte) (shellRequest, error) {
	r := shellRequest{wait: true}
	fields := map[string]func(json.RawMessage) error{
		"command":     func(raw json.RawMessage) error { return decodeString(raw, &r.command) },
		"wait":        func(raw json.RawMessage) error { return decodeAs(raw, &r.wait, "true or false") },
		"workdir":     func(raw json.RawMessage) error { return decodeString(raw, &r.workdir) },
		"envs":        r.decodeEnvs,
		"callbackURL": r.decodeCallbackURL,
		"timeout":     r.decodeTimeout,
		"jobId":       r.decodeJobID,
		"limits":      r.decodeLimits,
	}
	err := eachKnownField(body, fields)
	if err == nil && r.command == "" {
		err = errors.New(`command is missing or empty: send {"command":"hostname"}`)
	}
	return r, err
}

// eachKnownField passes each key of the object to its decoder.
func eachKnownField(body []byte, fields map[string]func(json.RawMessage) error) error {
	return eachField(body, func(name string, raw json.RawMessage) error {
		decode, known := fields[name]
		if !known {
			return fmt.Errorf("unknown key %q: the keys are %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		if err := decode(raw); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// eachField walks over the one JSON object that body must be, and passes each key that is not null.
// encoding/json alone would accept repeated keys, keys in other cases, invalid UTF-8 and lone surrogates.
func eachField(body []byte, field func(name string, raw json.RawMessage) error) error {
	if !utf8.Valid(body) {
		return errors.New("the body is not UTF-8: encode it as UTF-8")
	}
	if !json.Valid(body) {
		return errors.New(`the body is not valid JSON: send one object such as {"command":"hostname"}`)
	}
	if trimSpace(body)[0] != '{' {
		return errors.New(`the body is not a JSON object: send one such as {"command":"hostname"}`)
	}
	seen := map[string]bool{} // envs may have as many keys as a body can hold
	for name, raw := range members(body) {
		if seen[name] {
			return fmt.Errorf("the key %q is there twice: send it once", name)
		}
		seen[name] = true
		if string(raw) == "null" {
			continue
		}
		if err := field(name, raw); err != nil {
			return err
		}
	}
	return nil
}

func decodeAs[T any](raw json.RawMessage, to *T, want string) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("must be %s", want)
	}
	return nil
}

// decodeString refuses escapes of half a character, which encoding/json would replace silently.
func decodeString(raw json.RawMessage, to *string) error {
	if plain, ok := plainString(raw); ok {
		*to = plain
		return nil
	}
	if err := decodeAs(raw, to, "a string"); err != nil {
		return err
	}
	if hasHalfPair(raw) {
		return errors.New(`holds half of a surrogate pair (\ud800 to \udfff): send whole characters`)
	}
	return nil
}

// hasHalfPair looks for an escape of a surrogate that no other one completes. text is a valid JSON string.
func hasHalfPair(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // whatever is escaped
		if text[i] != 'u' {
			continue
		}
		unit := hexadecimal(text[i+1:])
		i += 4
		if !utf16.IsSurrogate(unit) {
			continue
		}
		rest := text[i+1:]
		if !bytes.HasPrefix(rest, []byte(`\u`)) || utf16.DecodeRune(unit, hexadecimal(rest[2:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// hexadecimal is the number that the first four characters are.
func hexadecimal(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // JSON that is valid has four
	return rune(n)
}

// decodeEnvs takes both forms: the stock client sends a list of "K=V", the manual shows an object.
func (r *shellRequest) decodeEnvs(raw json.RawMessage) error {
	if raw[0] == '[' {
		return r.decodeEnvList(raw)
	}
	if raw[0] != '{' {
		return errors.New(`must be a list such as ["NAME=value"] or an object such as {"NAME":"value"}`)
	}
	return eachField(raw, func(name string, raw json.RawMessage) error {
		var value string
		if err := decodeString(raw, &value); err != nil {
			return fmt.Errorf("the value of %q %w", name, err)
		}
		r.envs = append(r.envs, exec.Variable{Name: name, Value: value})
		return nil
	})
}

func (r *shellRequest) decodeEnvList(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := decodeAs(raw, &list, `a list of strings such as ["NAME=value"]`); err != nil {
		return err
	}
	for i, raw := range list {
		var text string
		if err := decodeString(raw, &text); err != nil {
			return fmt.Errorf("entry %d %w", i+1, err)
		}
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return fmt.Errorf(`entry %d is not of the form "NAME=value"`, i+1)
		}
		r.envs = append(r.envs, exec.Variable{Name: name, Value: value})
	}
	return nil
}

// decodeCallbackURL never puts the URL into an error: it may hold credentials.
func (r *shellRequest) decodeCallbackURL(raw json.RawMessage) error {
	var text string
	if err := decodeString(raw, &text); err != nil || text == "" {
		return err
	}
	u, err := url.Parse(text)
	if err == nil {
		u.RawQuery = plainQuery(u.RawQuery)
	}
	switch {
	case len(text) > maxCallbackURL || err == nil && len(u.String()) > maxCallbackURL:
		return fmt.Errorf("is longer than %d bytes, counted with its escapes (%%C3%%A9 for é)", maxCallbackURL)
	case err != nil:
		return errors.New("is not a valid URL: send one such as http://172.17.0.1:8088/api/v1/al/ID")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must begin with http:// or https://")
	case !isPort(u.Port()):
		return errors.New("has a port that is not 1 to 65535")
	case u.Hostname() == "":
		return errors.New("has no host: send one such as http://172.17.0.1:8088/api/v1/al/ID")
	case hasNamedZone(u.Hostname()):
		return errors.New("names the interface of its IPv6 address: give the interface's number instead, as `ip link` shows it (%254 for 4)")
	case strings.ContainsFunc(u.Hostname(), notOfHost):
		return errors.New("has a host with characters that no name or address has")
	}
	r.callbackURL = u
	return nil
}

// plainQuery escapes what may not stand in a request line; net/url does that for the path alone.
func plainQuery(query string) string {
	var plain strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>`, c) >= 0 {
			fmt.Fprintf(&plain, "%%%02X", c)
			continue
		}
		plain.WriteByte(c)
	}
	return plain.String()
}

// hasNamedZone is for what the network role cannot look up in its sandbox.
func hasNamedZone(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && strings.Trim(address.Zone(), "0123456789") != ""
}

// notOfHost keeps out what is harmless to the network, and not to an operator who reads the host in the
// journal. Names in other alphabets are names.
func notOfHost(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) && !strings.ContainsRune("-._:%", c)
}

// isPort takes an empty text for the scheme's own port.
func isPort(text string) bool {
	if text == "" {
		return true
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func (r *shellRequest) decodeTimeout(raw json.RawMessage) error {
	var seconds float64
	if err := decodeAs(raw, &seconds, "a number of seconds"); err != nil {
		return err
	}
	if !(seconds >= 0.001 && seconds <= maxTimeout.Seconds()) || math.IsNaN(seconds) {
		return fmt.Errorf("must be 0.001 to %.0f seconds; leave it out for the default", maxTimeout.Seconds())
	}
	r.timeout = time.Duration(seconds * float64(time.Second))
	return nil
}

func (r *shellRequest) decodeJobID(raw json.RawMessage) error {
	if err := decodeString(raw, &r.jobID); err != nil {
		return err
	}
	if !isJobID(r.jobID) {
		return fmt.Errorf("must be 1 to %d letters, digits, '-' or '_'; leave it out for a fresh one", maxJobID)
	}
	return nil
}
