package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dataflux-func-sidecar/exec"
)

// limits are what a request asks for its command; zero is the configured limit.
type limits struct {
	openFiles uint64
	processes uint64
	memory    uint64  // bytes
	cpuTime   float64 // seconds
}

// decodeLimits reads the key `limits` of POST /shell.
func (r *shellRequest) decodeLimits(raw json.RawMessage) error {
	if raw[0] != '{' {
		return errors.New(`must be an object such as {"openFiles":1024,"cpuTime":60}`)
	}
	number := func(to *uint64) func(json.RawMessage) error {
		return func(raw json.RawMessage) error { return decodeAs(raw, to, "a whole number") }
	}
	return eachKnownField(raw, map[string]func(json.RawMessage) error{
		"openFiles": number(&r.limits.openFiles),
		"processes": number(&r.limits.processes),
		"memory":    number(&r.limits.memory),
		"cpuTime": func(raw json.RawMessage) error {
			if err := decodeAs(raw, &r.limits.cpuTime, "a number of seconds"); err != nil {
				return err
			}
			if !(r.limits.cpuTime >= 0 && r.limits.cpuTime <= maxTimeout.Seconds()) {
				return fmt.Errorf("must be 0 to %.0f seconds", maxTimeout.Seconds())
			}
			return nil
		},
	})
}

// within returns the limits that hold: those asked for, which may not be above the configured ones.
func (l limits) within(ceiling exec.Limits) (exec.Limits, error) {
	asked := exec.Limits{OpenFiles: l.openFiles, Processes: l.processes, Memory: l.memory, CPUTime: time.Duration(l.cpuTime * float64(time.Second))}
	var failed error
	pick := func(name, key string, asked, most uint64) uint64 {
		if asked > most && most > 0 && failed == nil {
			failed = fmt.Errorf("limits: %s: at most %d is allowed here (%s)", name, most, key)
		}
		if asked == 0 {
			return most
		}
		return asked
	}
	return exec.Limits{
		OpenFiles: pick("openFiles", "LIMIT_OPEN_FILES", asked.OpenFiles, ceiling.OpenFiles),
		Processes: pick("processes", "LIMIT_PROCESSES", asked.Processes, ceiling.Processes),
		Memory:    pick("memory", "LIMIT_MEMORY", asked.Memory, ceiling.Memory),
		CPUTime:   time.Duration(pick("cpuTime", "LIMIT_CPU_TIME", uint64(asked.CPUTime), uint64(ceiling.CPUTime))),
	}, failed
}
