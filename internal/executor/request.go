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
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
)

const (
	maxTimeout     = 7 * 24 * time.Hour
	maxProcessors  = 1024
	maxCallbackURL = 8 << 10 // bytes
	maxJobID       = 64      // characters
	maxDepth       = 4       // objects and lists within each other; the deepest valid body has 2
)

// shellRequest is the body of POST /shell (source: docs/protocol.md).
type shellRequest struct {
	command     string
	action      string // instead of command
	labels      labels
	wait        bool
	transient   bool   // the job is forgotten at its end
	workdir     string // empty: the default
	envs        []exec.Variable
	callbackURL *url.URL      // nil: none
	timeout     time.Duration // zero: the default
	jobID       string        // empty: a fresh one is made
	limits      exec.Limits   // zero: the configured ones
	input

	secretEnvs  []exec.Variable // masked in the output
	traceparent traceparent
	startWithin time.Duration  // zero: no deadline
	signal      syscall.Signal // that ends it; zero: SIGTERM
	grace       *time.Duration // nil: the default
}

// decodeShell decodes the body of POST /shell. A key that is unknown, there twice, or of the wrong
// type is an error that says what to send instead: a typing error must not run another command. A
// null is as good as absent.
func decodeShell(body []byte) (*shellRequest, error) {
	r := &shellRequest{wait: true}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, r, shellMembers)
	}
	if err == nil {
		err = r.input.check(o)
	}
	switch {
	case err != nil:
		return nil, err
	case r.action != "" && r.command != "":
		return nil, errors.New("command and action are there both: send one of them")
	case r.action == "" && r.command == "" && r.script == nil:
		return nil, errors.New(`command is missing or empty: send {"command":"hostname"}`)
	}
	return r, r.checkVariables()
}

// shellMembers is made once: most requests have few of them.
var shellMembers = []member[shellRequest]{
	{"stdin", func(r *shellRequest) decoder { return decodeText(&r.stdin) }},
	{"stdinBase64", func(r *shellRequest) decoder { return decodeBase64(&r.stdin) }},
	{"script", func(r *shellRequest) decoder { return decodeText(&r.script) }},
	{"scriptBase64", func(r *shellRequest) decoder { return decodeBase64(&r.script) }},
	{"interpreter", func(r *shellRequest) decoder {
		return decodeWords(&r.interpreter, maxInterpreterParts)
	}},
	{"args", func(r *shellRequest) decoder { return decodeWords(&r.args, maxScriptArgs) }},
	{"command", func(r *shellRequest) decoder { return decodeTo(&r.command, "a string") }},
	{"action", func(r *shellRequest) decoder { return decodeTo(&r.action, "a string") }},
	{"labels", func(r *shellRequest) decoder { return r.labels.decode }},
	{"wait", func(r *shellRequest) decoder { return decodeTo(&r.wait, "true or false") }},
	{"keep", func(r *shellRequest) decoder { return r.decodeKeep }},
	{"workdir", func(r *shellRequest) decoder { return decodeTo(&r.workdir, "a string") }},
	{"envs", func(r *shellRequest) decoder { return r.decodeEnvs }},
	{"callbackURL", func(r *shellRequest) decoder { return r.decodeCallbackURL }},
	{"timeout", func(r *shellRequest) decoder { return r.decodeTimeout }},
	{"jobId", func(r *shellRequest) decoder { return r.decodeJobID }},
	{"limits", func(r *shellRequest) decoder { return r.decodeLimits }},
	{"secretEnvs", func(r *shellRequest) decoder { return r.decodeSecretEnvs }},
	{"traceparent", func(r *shellRequest) decoder { return r.traceparent.decode }},
	{"startWithin", func(r *shellRequest) decoder { return r.decodeStartWithin }},
	{"signal", func(r *shellRequest) decoder { return decodeSignal(&r.signal, endSignals) }},
	{"grace", func(r *shellRequest) decoder { return r.decodeGrace }},
}

// outputRequest is the body of GET /jobs/ID/output. It is not in a query, as no signature covers
// one.
type outputRequest struct {
	stream  string // "stdout" or "stderr"
	offset  int64  // bytes from the start, or with fromEnd before the end
	fromEnd bool
	follow  bool // wait for more until the job has ended
}

// defaultEnd is how many bytes before the end a request from the end is for unless it says so.
const defaultEnd = 64 << 10

func decodeOutput(body []byte) (outputRequest, error) {
	r := outputRequest{stream: "stdout", offset: -1, follow: true}
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" {
		r.offset = 0
		return r, nil
	}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, &r, outputMembers)
	}
	switch {
	case err != nil:
		return r, err
	case r.stream != "stdout" && r.stream != "stderr":
		return r, errors.New(`stream: must be "stdout" or "stderr"`)
	case r.offset < 0 && r.fromEnd:
		r.offset = defaultEnd
	case r.offset < 0:
		r.offset = 0
	}
	return r, nil
}

var outputMembers = []member[outputRequest]{
	{"stream", func(r *outputRequest) decoder { return decodeTo(&r.stream, "a string") }},
	{"offset", func(r *outputRequest) decoder { return decodeOffset(&r.offset) }},
	{"from", func(r *outputRequest) decoder { return r.decodeFrom }},
	{"follow", func(r *outputRequest) decoder { return decodeTo(&r.follow, "true or false") }},
}

func (r *outputRequest) decodeFrom(raw json.RawMessage) error {
	var from string
	err := decodeTo(&from, "a string")(raw)
	if err == nil && from != "start" && from != "end" {
		err = errors.New(`must be "start" or "end"`)
	}
	r.fromEnd = from == "end"
	return err
}

func decodeOffset(to *int64) decoder {
	return func(raw json.RawMessage) error {
		if err := decodeTo(to, "a number of bytes")(raw); err != nil {
			return err
		}
		if *to < 0 {
			return errors.New("must be 0 or more")
		}
		return nil
	}
}

// eventRequest is the body of GET /jobs/ID/events.
type eventRequest struct {
	after  eventPosition
	follow bool // wait for more until the job has ended
}

func decodeEvents(body []byte) (eventRequest, error) {
	r := eventRequest{follow: true}
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" {
		return r, nil
	}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, &r, eventMembers)
	}
	return r, err
}

var eventMembers = []member[eventRequest]{
	{"after", func(r *eventRequest) decoder { return r.decodeAfter }},
	{"follow", func(r *eventRequest) decoder { return decodeTo(&r.follow, "true or false") }},
}

func (r *eventRequest) decodeAfter(raw json.RawMessage) error {
	var text string
	err := decodeTo(&text, "a string")(raw)
	if err == nil {
		r.after, err = parsePosition(text)
	}
	return err
}

// object has the members of a JSON object that are not null.
type object map[string]json.RawMessage

// decodeBody decodes the one JSON object that a body must be. encoding/json alone would accept
// repeated keys, keys in another case, invalid UTF-8 and unpaired surrogates.
func decodeBody(body []byte) (object, error) {
	switch {
	case !utf8.Valid(body):
		return nil, errors.New("the body is not UTF-8: encode it as UTF-8")
	case !json.Valid(body):
		return nil, errors.New(
			`the body is not valid JSON: send one object such as {"command":"hostname"}`)
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return nil, errors.New(
			`the body is not a JSON object: send one such as {"command":"hostname"}`)
	case hasUnpairedSurrogate(body):
		return nil, errors.New(
			`the body holds half of a surrogate pair (\ud800 to \udfff): send whole characters`)
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	tokens.UseNumber()
	if err := checkStructure(tokens, 0); err != nil {
		return nil, err
	}
	return decodeObject(body)
}

// checkStructure reads one value and refuses repeated keys and values nested deeper than maxDepth.
func checkStructure(tokens *json.Decoder, depth int) error {
	token, err := tokens.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("the body is nested deeper than %d levels", maxDepth)
	}
	keys := map[string]bool{} // envs may have as many keys as fit into a body
	for tokens.More() {
		if token == json.Delim('{') {
			key, err := tokens.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if keys[name] {
				return fmt.Errorf("the key %.64q is there twice: send it once", name)
			}
			keys[name] = true
		}
		if err := checkStructure(tokens, depth+1); err != nil {
			return err
		}
	}
	_, err = tokens.Token() // the end of the object or list
	return err
}

func decodeObject(raw json.RawMessage) (object, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	maps.DeleteFunc(o, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	return o, nil
}

// decoder decodes one value. Its error says what the value must be.
type decoder func(json.RawMessage) error

// member is one key that a body, decoded into a T, may have.
type member[T any] struct {
	name    string
	decoder func(*T) decoder
}

// decodeTo decodes a value of the type of to, which want describes in the error.
func decodeTo[T any](to *T, want string) decoder {
	return func(raw json.RawMessage) error {
		if json.Unmarshal(raw, to) != nil {
			return fmt.Errorf("must be %s", want)
		}
		return nil
	}
}

// decodeMembers decodes the members that o has, in their order. It refuses every other key.
func decodeMembers[T any](o object, to *T, members []member[T]) error {
	found := 0
	var err error
	for _, m := range members {
		raw, given := o[m.name]
		if !given {
			continue
		}
		found++
		if failed := m.decoder(to)(raw); failed != nil && err == nil {
			err = fmt.Errorf("%s: %w", m.name, failed)
		}
	}
	if found < len(o) {
		return unknownKey(o, members)
	}
	return err
}

// unknownKey is the error about the first key of o, in the order of their names, that no member has.
func unknownKey[T any](o object, members []member[T]) error {
	var names []string
	for _, m := range members {
		names = append(names, m.name)
	}
	slices.Sort(names)
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(names, key) {
			return fmt.Errorf("unknown key %.64q: the keys are %s", key, strings.Join(names, ", "))
		}
	}
	return nil
}

// hasUnpairedSurrogate looks for an escape of a surrogate without its other half, which
// encoding/json would replace silently. The text must be valid JSON, in which only strings have
// backslashes.
func hasUnpairedSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		escape := text[at+1:]
		if escape[0] != 'u' {
			text = escape[1:]
			continue
		}
		unit := hexadecimal(escape[1:])
		text = escape[5:]
		if !utf16.IsSurrogate(unit) {
			continue
		}
		if !bytes.HasPrefix(text, []byte(`\u`)) ||
			utf16.DecodeRune(unit, hexadecimal(text[2:])) == utf8.RuneError {
			return true
		}
		text = text[6:]
	}
}

// hexadecimal is the number that the first four digits are.
func hexadecimal(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // valid JSON has four of them
	return rune(n)
}

func (r *shellRequest) decodeKeep(raw json.RawMessage) error {
	keep := true
	err := decodeTo(&keep, "true or false")(raw)
	r.transient = !keep
	return err
}

// decodeEnvs accepts both forms: the stock client sends a list of "K=V", the manual shows an
// object. The variables of an object are in the order of their names.
func (r *shellRequest) decodeEnvs(raw json.RawMessage) error {
	switch raw[0] {
	case '[':
		return r.decodeEnvList(raw)
	case '{':
		return r.decodeEnvObject(raw)
	}
	return errors.New(`must be a list such as ["NAME=value"] or an object such as {"NAME":"value"}`)
}

func (r *shellRequest) decodeEnvObject(raw json.RawMessage) error {
	o, err := decodeObject(raw)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		var value string
		if json.Unmarshal(o[name], &value) != nil {
			return fmt.Errorf("the value of %.64q must be a string", name)
		}
		r.envs = append(r.envs, exec.Variable{Name: name, Value: value})
	}
	return nil
}

func (r *shellRequest) decodeEnvList(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for i, raw := range list {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return fmt.Errorf("entry %d must be a string", i+1)
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

func (r *shellRequest) decodeTimeout(raw json.RawMessage) error {
	var seconds float64
	if err := decodeTo(&seconds, "a number of seconds")(raw); err != nil {
		return err
	}
	if !(seconds >= 0.001 && seconds <= maxTimeout.Seconds()) {
		return fmt.Errorf("must be 0.001 to %.0f seconds; leave it out for the default",
			maxTimeout.Seconds())
	}
	r.timeout = time.Duration(seconds * float64(time.Second))
	return nil
}

func (r *shellRequest) decodeJobID(raw json.RawMessage) error {
	if err := decodeTo(&r.jobID, "a string")(raw); err != nil {
		return err
	}
	if !isJobID(r.jobID) {
		return fmt.Errorf("must be 1 to %d letters, digits, '-' or '_'; "+
			"leave it out for a fresh one", maxJobID)
	}
	return nil
}

// isJobID reports whether s has the form of a job id that a caller may choose.
func isJobID(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return len(s) >= 1 && len(s) <= maxJobID && strings.Trim(s, letters) == ""
}

func (r *shellRequest) decodeLimits(raw json.RawMessage) error {
	if raw[0] != '{' {
		return errors.New(`must be an object such as {"openFiles":1024,"cpuTime":60}`)
	}
	o, err := decodeObject(raw)
	if err != nil {
		return err
	}
	return decodeMembers(o, &r.limits, limitMembers)
}

var limitMembers = []member[exec.Limits]{
	{"openFiles", func(l *exec.Limits) decoder { return decodeTo(&l.OpenFiles, "a whole number") }},
	{"processes", func(l *exec.Limits) decoder { return decodeTo(&l.Processes, "a whole number") }},
	{"memory", func(l *exec.Limits) decoder { return decodeTo(&l.Memory, "a whole number") }},
	{"cpuTime", decodeCPUTime},
	{"cpus", decodeCPUs},
	{"cpuWeight", func(l *exec.Limits) decoder { return decodeTo(&l.CPUWeight, "a whole number") }},
	{"ioWeight", func(l *exec.Limits) decoder { return decodeTo(&l.IOWeight, "a whole number") }},
}

func decodeCPUTime(l *exec.Limits) decoder {
	return func(raw json.RawMessage) error {
		var seconds float64
		if err := decodeTo(&seconds, "a number of seconds")(raw); err != nil {
			return err
		}
		if !(seconds >= 0 && seconds <= maxTimeout.Seconds()) {
			return fmt.Errorf("must be 0 to %.0f seconds", maxTimeout.Seconds())
		}
		l.CPUTime = time.Duration(seconds * float64(time.Second))
		return nil
	}
}

func decodeCPUs(l *exec.Limits) decoder {
	return func(raw json.RawMessage) error {
		var processors float64
		if err := decodeTo(&processors, "a number of processors")(raw); err != nil {
			return err
		}
		if !(processors >= 0 && processors <= maxProcessors) {
			return fmt.Errorf("must be 0 to %d", maxProcessors)
		}
		l.MilliCPU = uint64(math.Ceil(processors * 1000)) // none of them becomes 0, no limit
		return nil
	}
}

func (r *shellRequest) decodeStartWithin(raw json.RawMessage) error {
	var seconds float64
	if err := decodeTo(&seconds, "a number of seconds")(raw); err != nil {
		return err
	}
	if !(seconds >= minSeconds && seconds <= maxTimeout.Seconds()) {
		return fmt.Errorf("must be %g to %.0f seconds; leave it out to wait as long as it takes",
			minSeconds, maxTimeout.Seconds())
	}
	r.startWithin = time.Duration(seconds * float64(time.Second))
	return nil
}

// minSeconds is the least time that a request can state.
const minSeconds = 0.001
