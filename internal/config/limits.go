package config

import (
	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

// LimitsOfAny has each limit that a command can have by the configuration: that of all commands,
// else the lowest of a key or an action. OpenFiles and CPUTime are left out.
func (c Config) LimitsOfAny() exec.Limits {
	all := exec.Limits{
		Memory: uint64(c.LimitMemory), Processes: uint64(c.LimitProcesses),
		MilliCPU: c.LimitMilliCPU, CPUWeight: c.LimitCPUWeight, IOWeight: c.LimitIOWeight,
	}
	var others exec.Limits
	for _, k := range c.NamedKeys {
		others = policy.Lowest(others, k.Limits)
	}
	for _, a := range c.Actions {
		others = policy.Lowest(others, a.Limits)
	}
	for _, limit := range []struct{ of, other *uint64 }{
		{&all.Memory, &others.Memory},
		{&all.Processes, &others.Processes},
		{&all.MilliCPU, &others.MilliCPU},
		{&all.CPUWeight, &others.CPUWeight},
		{&all.IOWeight, &others.IOWeight},
	} {
		if *limit.of == 0 {
			*limit.of = *limit.other
		}
	}
	return all
}
