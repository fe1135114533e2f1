package executor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"dataflux-func-sidecar/exec"
)

// decodeSecretEnvs accepts the forms of envs. Its errors name variables, and never values.
func (r *shellRequest) decodeSecretEnvs(raw json.RawMessage) error {
	var list shellRequest
	if err := list.decodeEnvs(raw); err != nil {
		return err
	}
	r.secretEnvs = list.envs
	if len(r.secretEnvs) > exec.MaxSecrets {
		return fmt.Errorf("has %d variables, at most %d are possible",
			len(r.secretEnvs), exec.MaxSecrets)
	}
	for i, v := range r.secretEnvs {
		switch n := len(v.Value); {
		case n < exec.MinSecret || n > exec.MaxSecret:
			return fmt.Errorf("the value of %.64q has %d bytes, not %d to %d: a shorter one would "+
				"mask what is no secret; send it in envs", v.Name, n, exec.MinSecret,
				exec.MaxSecret)
		case hasVariable(r.secretEnvs[:i], v.Name):
			return fmt.Errorf("%.64q is there twice: send it once", v.Name)
		}
	}
	return nil
}

func hasVariable(variables []exec.Variable, name string) bool {
	return slices.ContainsFunc(variables, func(v exec.Variable) bool { return v.Name == name })
}

// checkVariables refuses names that are there in two ways, and secret values in what is listed,
// logged or on disk.
func (r *shellRequest) checkVariables() error {
	if r.traceparent != "" && (hasVariable(r.envs, traceVariable) ||
		hasVariable(r.secretEnvs, traceVariable)) {
		return fmt.Errorf("traceparent and the variable %s are there both: send one of them",
			traceVariable)
	}
	for _, v := range r.secretEnvs {
		if hasVariable(r.envs, v.Name) {
			return fmt.Errorf("secretEnvs: %.64q is in envs too: send it once", v.Name)
		}
		if key := r.shows(v.Value); key != "" {
			return fmt.Errorf("secretEnvs: %s has the value of %.64q in it, and is listed, logged "+
				"and in ps: use the variable instead, as in \"$%s\"", key, v.Name, v.Name)
		}
	}
	return nil
}

// shows returns the key of the body, outside of envs, that has a value in it; empty if none has.
func (r *shellRequest) shows(value string) string {
	names := slices.Sorted(maps.Keys(r.labels))
	shown := []struct{ key, text string }{
		{"command", r.command},
		{"action", r.action},
		{"workdir", r.workdir},
		{"jobId", r.jobID},
		{"traceparent", string(r.traceparent)},
		{"script", string(r.input.script)}, // of which LOG_COMMANDS shows the first line
		{"interpreter", strings.Join(r.input.interpreter, "\n")},
		{"args", strings.Join(r.input.args, "\n")},
		{"labels", strings.Join(names, "\n")}, // before those that the error names
	}
	for _, name := range names {
		shown = append(shown, struct{ key, text string }{"labels: " + name, r.labels[name]})
	}
	if u := r.callbackURL; u != nil {
		text := u.String()
		decoded := decodeEscapes(text)
		spaced := decodeEscapes(strings.ReplaceAll(text, "+", " ")) // as a query has them
		shown = append(shown, struct{ key, text string }{
			"callbackURL", strings.Join([]string{text, decoded, spaced}, "\n"),
		})
	}
	for _, s := range shown {
		if strings.Contains(s.text, value) {
			return s.key
		}
	}
	return ""
}

// decodeEscapes decodes each %XX of a URL, in all parts alike. Anything else stays as it is, also
// where net/url would refuse the whole.
func decodeEscapes(text string) string {
	var decoded strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				decoded.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		decoded.WriteByte(text[i])
	}
	return decoded.String()
}

// secrets are the values that are masked in the output.
func (r *shellRequest) secrets() (values []string) {
	for _, v := range r.secretEnvs {
		values = append(values, v.Value)
	}
	return values
}

// maskedKey is in the JSON object of a result whose output is masked.
const maskedKey = `,"masked":true`

func maskedKeyOf(p *exec.Process) string {
	if !p.Result().Masked {
		return ""
	}
	return maskedKey
}
