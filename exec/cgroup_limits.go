package exec

import "strconv"

const (
	// cpuPeriod is the kernel's default for the period of cpu.max, in microseconds.
	cpuPeriod = 100_000
	// maxPIDs is the highest value of pids.max, and maxMemory one that memory.max takes.
	maxPIDs   = 1 << 22
	maxMemory = 1 << 60
	// maxDyingCgroups bounds the removed cgroups that the kernel keeps for the cached files of
	// their commands. Beyond it, cgroups with a limit of memory are reused.
	maxDyingCgroups = 512
	// dyingInterval is after how many new cgroups the dying ones are counted.
	dyingInterval = 64
)

// cgroupLimits are what the files of a command's cgroup say. 0 each: nothing.
type cgroupLimits struct {
	Memory, Processes, MilliCPU uint64 `json:",omitzero"`
	CPUWeight, IOWeight         uint64 `json:",omitzero"`
	Watched                     bool   `json:",omitzero"` // memory can run out, and is observed
}

// split returns what the cgroup of a command holds of its limits, and what is left for its
// processes.
func (c *controllers) split(l Limits) (held cgroupLimits, rest Limits, by LimitsBy) {
	if l.byProcess() == ByNone {
		return cgroupLimits{Watched: c.totalMemory.Load()}, l, ByNone
	}
	rest, by = l, ByCgroup
	for _, limit := range []struct {
		controller controller
		asked      *uint64
		held       *uint64
		most       uint64
	}{
		{memoryController, &rest.Memory, &held.Memory, maxMemory},
		{pidsController, &rest.Processes, &held.Processes, maxPIDs},
		{cpuController, &rest.MilliCPU, &held.MilliCPU, 1 << 32},
		{cpuController, &rest.CPUWeight, &held.CPUWeight, MaxWeight},
		{ioController, &rest.IOWeight, &held.IOWeight, MaxWeight},
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
	held.Watched = held.Memory > 0 || c.totalMemory.Load()
	return held, rest, by
}

// limit writes the limits of a new cgroup.
func (c *controllers) limit(name string, l cgroupLimits) error {
	set := func(file string, value uint64) error {
		return writeFile(c.folder, name+"/"+file, strconv.FormatUint(value, 10))
	}
	if l.Watched {
		// The command is killed as a whole: a part of one can go on in ways that nobody foresees.
		if err := set("memory.oom.group", 1); err != nil {
			return err
		}
	}
	if l.Memory > 0 {
		_ = set("memory.swap.max", 0) // missing where the kernel counts no swap
	}
	for _, limit := range []struct {
		file  string
		value uint64
	}{
		{"memory.max", l.Memory},
		{"pids.max", l.Processes},
		{"cpu.max", l.MilliCPU * cpuPeriod / 1000},
		{"cpu.weight", l.CPUWeight},
	} {
		if limit.value > 0 {
			if err := set(limit.file, limit.value); err != nil {
				return err
			}
		}
	}
	if l.IOWeight == 0 {
		return nil
	}
	err := set(ioWeightFile, l.IOWeight)
	if set(bfqWeightFile, bfqWeight(l.IOWeight)) == nil { // the kernel may have one of the two
		return nil
	}
	return err
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
func (c *controllers) isReusable(l cgroupLimits) bool { return !l.Watched || c.crowded.Load() }

// noteMade counts the dying cgroups now and then.
func (c *controllers) noteMade(l cgroupLimits) {
	if !l.Watched || c.made.Add(1)%dyingInterval != 0 {
		return
	}
	stat, err := readFile(c.folder, "cgroup.stat")
	c.crowded.Store(err == nil && numberAfter(stat, "nr_dying_descendants ") > maxDyingCgroups)
}

// memoryUse is what the kernel has counted of a cgroup since it was made.
type memoryUse struct {
	OOMKills uint64 `json:",omitzero"` // processes that the OOM killer has ended
	Peak     int64  `json:",omitzero"` // bytes; 0: not known, before Linux 5.19
}

func (c *controllers) memoryUse(name string) (use memoryUse) {
	if events, err := readFile(c.folder, name+"/memory.events"); err == nil {
		use.OOMKills = numberAfter(events, "oom_kill ")
	}
	if peak, err := readNumber(c.folder, name+"/memory.peak"); err == nil {
		use.Peak = int64(peak)
	}
	return use
}
