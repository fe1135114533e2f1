package executor

import (
	"encoding/json"
	"errors"
	"strings"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
)

// traceVariable is the variable in which a command finds the traceparent of its request.
const traceVariable = "TRACEPARENT"

// traceparent is the context of a distributed trace, after W3C Trace Context, version 00: 00, the
// id of the trace, that of the caller's span, and flags, in lower-case hexadecimal digits. Empty:
// there is none.
type traceparent string

func (t *traceparent) decode(raw json.RawMessage) error {
	var text string
	if err := decodeTo(&text, "a string")(raw); err != nil {
		return err
	}
	if !isTraceparent(text) {
		return errors.New("must be of the form 00-TRACE-SPAN-FLAGS with 32, 16 and 2 of 0-9 and " +
			"a-f, and neither id zero (W3C Trace Context)")
	}
	*t = traceparent(text)
	return nil
}

func isTraceparent(text string) bool {
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != "00" {
		return false
	}
	for i, length := range []int{2, 32, 16, 2} {
		if len(parts[i]) != length || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != ""
}

// id is that of the trace; t must not be empty.
func (t traceparent) id() string { return string(t[3:35]) }

// variables are those of the command.
func (t traceparent) variables() []exec.Variable {
	if t == "" {
		return nil
	}
	return []exec.Variable{{Name: traceVariable, Value: string(t)}}
}

// addTo adds the fields of the journal.
func (t traceparent) addTo(f journal.Fields) {
	if t != "" {
		f[journal.Traceparent], f[journal.TraceID] = string(t), t.id()
	}
}
