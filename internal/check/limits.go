package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

// checkLimits says whether the configured limits hold for each command as a whole, and finds those
// that leave too little.
func checkLimits(c *checker) []Finding {
	needed := neededControllers(c.settings)
	if len(needed) == 0 {
		return nil
	}
	return append(controllersFinding(c.settings, needed, c.delegatedControllers()),
		limitFindings(c.settings)...)
}

// neededControllers are the controllers of cgroups that the limits of the configuration take.
func neededControllers(s config.Config) (names []string) {
	l := s.LimitsOfAny()
	for _, needed := range []struct {
		name  string
		limit uint64
	}{
		{"memory", l.Memory | uint64(s.TotalMemory)},
		{"pids", l.Processes | uint64(s.TotalProcesses)},
		{"cpu", l.MilliCPU},
	} {
		if needed.limit > 0 {
			names = append(names, needed.name)
		}
	}
	return names
}

// delegatedControllers are those of the cgroup of the service, or of all cgroups if it does not
// run. nil: cgroups of version 2 have none here.
func (c *checker) delegatedControllers() []string {
	const mount = "/sys/fs/cgroup"
	var fs unix.Statfs_t
	if unix.Statfs(mount, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil // the hybrid layout, or version 1
	}
	for _, dir := range []string{c.units[units.Service]["ControlGroup"], "/"} {
		text, err := os.ReadFile(filepath.Join(mount, dir, "cgroup.controllers"))
		if dir != "" && err == nil {
			return strings.Fields(string(text))
		}
	}
	return nil
}

func controllersFinding(s config.Config, needed, there []string) (found []Finding) {
	var missing []string
	for _, name := range needed {
		if !slices.Contains(there, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return []Finding{ok("limits of memory, processes and processors hold for each command as " +
			"a whole (cgroup)")}
	}
	l := s.LimitsOfAny()
	for _, lost := range []struct {
		controller, text string
		concerned        bool
	}{
		{"memory", "LIMIT_MEMORY bounds the address space of each process, of which Node.js and " +
			"Java reserve far more than they use", l.Memory > 0},
		{"pids", "LIMIT_PROCESSES bounds the processes of all commands together", l.Processes > 0},
		{"cpu", "LIMIT_CPUS has no effect", l.MilliCPU > 0},
		{"memory", "TOTAL_MEMORY has no effect", s.TotalMemory > 0},
		{"pids", "TOTAL_PROCESSES has no effect", s.TotalProcesses > 0},
	} {
		if lost.concerned && slices.Contains(missing, lost.controller) {
			found = append(found, warning("%s: the service has no %s controller of cgroups of "+
				"version 2 here; a host with systemd.unified_cgroup_hierarchy=1 among the "+
				"parameters of its kernel has it", lost.text, lost.controller))
		}
	}
	if l.Processes > 0 && slices.Contains(missing, "pids") && l.Processes < uint64(s.MaxRunning) {
		found = append(found, warning("LIMIT_PROCESSES = %d, or one of LIMITS, is less than the "+
			"MAX_RUNNING = %d commands need together: raise it", l.Processes, s.MaxRunning))
	}
	return found
}

// limitFindings finds totals that are lower than what they are to hold.
func limitFindings(s config.Config) (found []Finding) {
	if s.TotalMemory > 0 && s.LimitMemory > s.TotalMemory {
		found = append(found, warning("LIMIT_MEMORY = %d is above TOTAL_MEMORY = %d, so that one "+
			"command can use up the memory of all: lower it", s.LimitMemory, s.TotalMemory))
	}
	if s.TotalProcesses > 0 && s.TotalProcesses < s.MaxRunning {
		found = append(found, warning("TOTAL_PROCESSES = %d is below MAX_RUNNING = %d, and each "+
			"command needs one at least: raise it, or lower MAX_RUNNING",
			s.TotalProcesses, s.MaxRunning))
	}
	return found
}

// heldFinding finds a service that bounds processes although this host could bound commands.
func (c *checker) heldFinding(job client.Job) []Finding {
	needed := neededControllers(c.settings)
	there := c.delegatedControllers()
	could := !slices.ContainsFunc(needed,
		func(name string) bool { return !slices.Contains(there, name) })
	if job.LimitsBy == nil || *job.LimitsBy == "cgroup" || !could {
		return nil
	}
	return []Finding{c.restart(warning("the service bounds each process, and not each command as " +
		"a whole: its first entries in the journal say why"))}
}
