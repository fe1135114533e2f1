package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"dataflux-func-sidecar/exec"
)

// requestDigest identifies what a request asks for: all that changes what runs or where the result
// goes. Whether the caller waits does not.
func requestDigest(r *shellRequest) [sha256.Size]byte {
	h := sha256.New()
	var length [8]byte
	add := func(fields ...string) {
		for _, field := range fields {
			binary.LittleEndian.PutUint64(length[:], uint64(len(field)))
			h.Write(length[:])
			h.Write([]byte(field))
		}
	}
	url := ""
	if r.callbackURL != nil {
		url = r.callbackURL.String()
	}
	add(r.command, r.workdir, url, r.timeout.String())
	if r.action != "" {
		add("action", r.action)
	}
	if r.traceparent != "" {
		add("traceparent", string(r.traceparent))
	}
	for _, v := range effectiveVariables(r.secretEnvs) {
		add("secretEnv", v.Name, v.Value)
	}
	if r.startWithin > 0 {
		add("startWithin", r.startWithin.String())
	}
	if r.signal != 0 {
		add("signal", exec.SignalName(r.signal))
	}
	if r.grace != nil {
		add("grace", r.grace.String())
	}
	add(r.input.digestFields()...)
	l := r.limits
	if l.MilliCPU > 0 {
		add("cpus", fmt.Sprint(l.MilliCPU))
	}
	if l.CPUWeight > 0 {
		add("cpuWeight", fmt.Sprint(l.CPUWeight))
	}
	if l.IOWeight > 0 {
		add("ioWeight", fmt.Sprint(l.IOWeight))
	}
	// What follows has no tags: a new key goes before it, or could be taken for a variable.
	add(fmt.Sprint(l.OpenFiles, l.Processes, l.Memory, int64(l.CPUTime)))
	for _, v := range effectiveVariables(r.envs) {
		add(v.Name, v.Value)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// effectiveVariables are sorted by name. Of a repeated name the last one counts.
func effectiveVariables(envs []exec.Variable) []exec.Variable {
	values := map[string]string{}
	for _, v := range envs {
		values[v.Name] = v.Value
	}
	effective := make([]exec.Variable, 0, len(values))
	for name, value := range values {
		effective = append(effective, exec.Variable{Name: name, Value: value})
	}
	slices.SortFunc(effective, func(a, b exec.Variable) int {
		return bytes.Compare([]byte(a.Name), []byte(b.Name))
	})
	return effective
}
