package exec

import "strconv"

const (
	// cpuPeriod is the period of cpu.max, in microseconds, and the kernel's default.
	cpuPeriod = 100_000
	// maxPIDs is the highest value of pids.max, and maxMemory one that memory.max takes.
	maxPIDs   = 1 << 22
	maxMemory = 1 << 60
	// maxDyingCgroups bounds the removed cgroups that the kernel keeps for the cached files of their
	// commands. Beyond it, cgroups with a limit of memory are reused.
	maxDyingCgroups = 512
	// dyingInterval is after how many new cgroups the dying ones are counted.
	dyingInterval = 64
)

// cgroupLimits are what the files of a command's cgroup say. 0 each: nothing.
type cgroupLimits struct {
	memory, processes, milliCPU uint64
	cpuWeight, ioWeight         uint64
	watched                     bool // memory can run out: its use and its end are observed
}

// split returns what the cgroup of a command holds of its limits, and what is left for its
// processes.
func (c *controllers) split(l Limits) (held cgroupLimits, rest Limits, by LimitsBy) {
	if l.byProcess() == ByNone {
		return cgroupLimits{watched: c.totalMemory.Load()}, l, ByNone
	}
	rest, by = l, ByCgroup
	for _, limit := range []struct {
		controller controller
		asked      *uint64
		held       *uint64
		most       uint64
	}{
		{memoryController, &rest.Memory, &held.memory, maxMemory},
		{pidsController, &rest.Processes, &held.processes, maxPIDs},
		{cpuController, &rest.MilliCPU, &held.milliCPU, 1 << 32},
		{cpuController, &rest.CPUWeight, &held.cpuWeight, MaxWeight},
		{ioController, &rest.IOWeight, &held.ioWeight, MaxWeight},
	} {
		if *limit.asked == 0 {
			continue
		}
		if c.enable(limit.controller) != nil {
			by = ByProcess
			continue
		}
		*limit.held, *limit.asked = min(*limit.asked, limit.most), 0
	}
	held.watched = held.memory > 0 || c.totalMemory.Load()
	return held, rest, by
}

// limit writes the limits of a new cgroup.
func (c *controllers) limit(name string, l cgroupLimits) error {
	dir := c.folder
	if l.watched {
		// The command is killed as a whole: a part of one can go on in ways that nobody foresees.
		if err := writeFile(dir, name+"/memory.oom.group", "1"); err != nil {
			return err
		}
	}
	if l.memory > 0 {
		_ = writeFile(dir, name+"/memory.swap.max", "0")
		if err := writeFile(dir, name+"/memory.max", orMax(l.memory)); err != nil {
			return err
		}
	}
	if l.processes > 0 {
		if err := writeFile(dir, name+"/pids.max", orMax(l.processes)); err != nil {
			return err
		}
	}
	if l.milliCPU > 0 {
		quota := strconv.FormatUint(l.milliCPU*cpuPeriod/1000, 10)
		period := strconv.Itoa(cpuPeriod)
		if err := writeFile(dir, name+"/cpu.max", quota+" "+period); err != nil {
			return err
		}
	}
	if l.cpuWeight > 0 {
		if err := c.setWeight(name+"/cpu.weight", l.cpuWeight); err != nil {
			return err
		}
	}
	if l.ioWeight > 0 {
		return c.setIOWeight(name, l.ioWeight)
	}
	return nil
}

// setIOWeight sets each of the two that the kernel has.
func (c *controllers) setIOWeight(name string, weight uint64) error {
	err := c.setWeight(name+"/"+ioWeightFile, weight)
	if c.setWeight(name+"/"+bfqWeightFile, bfqWeight(weight)) == nil {
		return nil
	}
	return err
}

func (c *controllers) setWeight(file string, weight uint64) error {
	return writeFile(c.folder, file, strconv.FormatUint(weight, 10))
}

// bfqWeight is a weight from 1 to 1000 with the same default, as systemd has it.
func bfqWeight(weight uint64) uint64 {
	const most = 1000
	if weight <= DefaultWeight {
		return weight
	}
	return DefaultWeight +
		(weight-DefaultWeight)*(most-DefaultWeight)/(MaxWeight-DefaultWeight)
}

// isReusable reports whether a command with these limits gets the cgroup of an earlier one. The
// peak of its memory is known in a new cgroup only.
func (c *controllers) isReusable(l cgroupLimits) bool { return !l.watched || c.crowded.Load() }

// noteMade counts the dying cgroups now and then.
func (c *controllers) noteMade(l cgroupLimits) {
	if !l.watched || c.made.Add(1)%dyingInterval != 0 {
		return
	}
	stat, err := readFile(c.folder, "cgroup.stat")
	c.crowded.Store(err == nil && numberAfter(stat, "nr_dying_descendants ") > maxDyingCgroups)
}

// memoryUse is what the kernel has counted of a cgroup since it was made.
type memoryUse struct {
	oomKills uint64 // processes that the OOM killer has ended
	peak     int64  // bytes; 0: not known, before Linux 5.19
}

func (c *controllers) memoryUse(name string) (use memoryUse) {
	if events, err := readFile(c.folder, name+"/memory.events"); err == nil {
		use.oomKills = numberAfter(events, "oom_kill ")
	}
	if peak, err := readNumber(c.folder, name+"/memory.peak"); err == nil {
		use.peak = int64(peak)
	}
	return use
}
