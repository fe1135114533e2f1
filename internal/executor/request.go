package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/exec"
)

const (
	minTime       = time.Millisecond // the least that a request can state
	maxTimeout    = 7 * 24 * time.Hour
	maxProcessors = 1024
	maxJobID      = 64 // characters
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
// null counts as absent.
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
	{"timeout", func(r *shellRequest) decoder {
		return decodeSeconds(&r.timeout, minTime, maxTimeout, "for the default")
	}},
	{"jobId", func(r *shellRequest) decoder { return r.decodeJobID }},
	{"limits", func(r *shellRequest) decoder { return r.decodeLimits }},
	{"secretEnvs", func(r *shellRequest) decoder { return r.decodeSecretEnvs }},
	{"traceparent", func(r *shellRequest) decoder { return r.traceparent.decode }},
	{"startWithin", func(r *shellRequest) decoder {
		return decodeSeconds(&r.startWithin, minTime, maxTimeout, "to wait as long as it takes")
	}},
	{"signal", func(r *shellRequest) decoder { return decodeSignal(&r.signal, endSignals) }},
	{"grace", func(r *shellRequest) decoder { return r.decodeGrace }},
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
