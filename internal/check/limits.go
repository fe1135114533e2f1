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
	there := c.delegatedControllers()
	found := controllersFinding(c.settings, needed, there)
	if c.settings.LimitsOfAny().IOWeight > 0 && slices.Contains(there, "io") {
		found = append(found, diskFindings("/sys/block", mount)...)
	}
	return append(found, limitFindings(c.settings)...)
}

// neededControllers are the controllers of cgroups that the limits of the configuration take.
func neededControllers(s config.Config) []string {
	l := s.LimitsOfAny()
	l.Memory |= uint64(s.TotalMemory)
	l.Processes |= uint64(s.TotalProcesses)
	return l.Controllers()
}

const mount = "/sys/fs/cgroup"

// delegatedControllers are those of the cgroup of the service, or of all cgroups if it does not
// run. nil: cgroups of version 2 have none here.
func (c *checker) delegatedControllers() []string {
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
		return []Finding{ok("limits of memory, processes, processors and I/O hold for each " +
			"command as a whole")}
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
		{"cpu", "LIMIT_CPU_WEIGHT has no effect", l.CPUWeight > 0},
		{"io", "LIMIT_IO_WEIGHT has no effect", l.IOWeight > 0},
		{"memory", "TOTAL_MEMORY has no effect", s.TotalMemory > 0},
		{"pids", "TOTAL_PROCESSES has no effect", s.TotalProcesses > 0},
	} {
		if lost.concerned && slices.Contains(missing, lost.controller) {
			found = append(found, warning("%s: the service has no %s controller of cgroups of "+
				"version 2; boot the host with the kernel parameter "+
				"systemd.unified_cgroup_hierarchy=1", lost.text, lost.controller))
		}
	}
	if l.Processes > 0 && slices.Contains(missing, "pids") && l.Processes < uint64(s.MaxRunning) {
		found = append(found, warning("LIMIT_PROCESSES = %d, or one of LIMITS, is less than the "+
			"MAX_RUNNING = %d commands need together: raise it", l.Processes, s.MaxRunning))
	}
	return found
}

// diskFindings finds that no disk heeds weights of I/O, where that can be seen: in a container it
// cannot.
func diskFindings(disks, cgroups string) []Finding {
	schedulers, _ := filepath.Glob(disks + "/*/queue/scheduler")
	for _, path := range schedulers {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "[bfq]") {
			return nil
		}
	}
	model, _ := os.ReadFile(cgroups + "/io.cost.qos")
	if len(schedulers) == 0 || strings.Contains(string(model), "enable=1") {
		return nil
	}
	return []Finding{warning("LIMIT_IO_WEIGHT has no effect: no disk here has the scheduler bfq, " +
		"and io.cost.qos enables none; write bfq to /sys/block/DISK/queue/scheduler")}
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
