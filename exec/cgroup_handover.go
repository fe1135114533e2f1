package exec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"dataflux-func-sidecar/internal/handover"

	"golang.org/x/sys/unix"
)

// CgroupState is the cgroup of a command.
type CgroupState struct {
	Name                 string
	UserTime, SystemTime time.Duration // used by earlier commands
	Gone                 bool          // removed, or another command's

	Memory, Processes, MilliCPU uint64 `json:",omitzero"` // its limits
	CPUWeight, IOWeight         uint64 `json:",omitzero"`
	Watched                     bool   `json:",omitzero"`
	OOMKills                    uint64 `json:",omitzero"` // of earlier commands, as the next
	Peak                        int64  `json:",omitzero"`
}

func newCgroupState(name string, used cpuTime, l cgroupLimits, m memoryUse) CgroupState {
	return CgroupState{
		Name: name, UserTime: used.user, SystemTime: used.system,
		Memory: l.memory, Processes: l.processes, MilliCPU: l.milliCPU, Watched: l.watched,
		CPUWeight: l.cpuWeight, IOWeight: l.ioWeight,
		OOMKills: m.oomKills, Peak: m.peak,
	}
}

func (s CgroupState) used() cpuTime { return cpuTime{s.UserTime, s.SystemTime} }

func (s CgroupState) limits() cgroupLimits {
	return cgroupLimits{
		memory: s.Memory, processes: s.Processes, milliCPU: s.MilliCPU,
		cpuWeight: s.CPUWeight, ioWeight: s.IOWeight, watched: s.Watched,
	}
}

func (s CgroupState) memory() memoryUse { return memoryUse{s.OOMKills, s.Peak} }

func (g *cgroup) state() *CgroupState {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := newCgroupState(g.name, g.before, g.limits, g.memoryBefore)
	s.Gone = g.gone
	return &s
}

func (r *Runner) restoreCgroup(s *CgroupState) (*cgroup, error) {
	if s == nil {
		return nil, nil
	}
	if r.cgroups == nil {
		return nil, errors.New("cannot restore a command in a cgroup: there are no cgroups")
	}
	if err := checkCgroupName(s.Name); err != nil {
		return nil, err
	}
	c := r.cgroups
	c.mu.Lock()
	defer c.mu.Unlock()
	if g, found := c.ending[s.Name]; found && !s.Gone {
		return g, nil
	}
	return &cgroup{
		cgroups: c, name: s.Name, gone: s.Gone, limits: s.limits(),
		before: s.used(), memoryBefore: s.memory(),
	}, nil
}

// checkCgroupName prevents that a name leads elsewhere.
func checkCgroupName(name string) error {
	if _, err := strconv.ParseUint(name, 10, 63); err != nil {
		return fmt.Errorf("cannot restore the cgroup %s: the name of one is a number", quote(name))
	}
	return nil
}

// CgroupsState are the cgroups of commands.
type CgroupsState struct {
	Jobs, Most int // descriptors
	KillFile   bool
	Last       uint64
	Idle       []CgroupState
	Ending     []string // they are removed when their last process has ended

	UnitControl, JobsControl int      // descriptors; 0: a release that had none
	Controllers              []string // those that are enabled
	Totals                   Totals
}

// HandOver returns what the next program needs. It is called at rest.
func (c *Cgroups) HandOver(w *handover.Writer) CgroupsState {
	s := CgroupsState{
		Jobs: w.Keep(c.jobs), Most: w.Keep(c.most), KillFile: c.killFile, Last: c.last.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, idle := range c.idle {
		s.Idle = append(s.Idle, newCgroupState(idle.name, idle.used, idle.limits, idle.memory))
	}
	for name := range c.ending {
		s.Ending = append(s.Ending, name)
	}
	c.controllers.handOver(w, &s)
	return s
}

func (c *controllers) handOver(w *handover.Writer, s *CgroupsState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unit >= 0 {
		s.UnitControl, s.JobsControl = w.Keep(c.unit), w.Keep(c.jobs)
	}
	for k, state := range c.states {
		if state.enabled {
			s.Controllers = append(s.Controllers, controllerNames[k])
		}
	}
	s.Totals = c.totals
}

// RestoreCgroups goes on with the cgroups that the program before this one handed over, and bounds
// their number for maxRunning commands. They may still be frozen: call Thaw.
func RestoreCgroups(s CgroupsState, maxRunning int) (*Cgroups, error) {
	c := &Cgroups{
		jobs: s.Jobs, most: s.Most, killFile: s.KillFile, proven: true,
		ending: make(map[string]*cgroup),
	}
	descriptors := []int{s.Jobs, s.Most}
	if s.UnitControl != 0 {
		descriptors = append(descriptors, s.UnitControl, s.JobsControl)
	}
	for _, fd := range descriptors {
		var stat unix.Statfs_t
		err := unix.Fstatfs(fd, &stat)
		if err != nil || stat.Type != unix.CGROUP2_SUPER_MAGIC || fd <= 2 {
			return nil, fmt.Errorf("cannot restore the commands' cgroups: "+
				"descriptor %d is none of theirs (%v)", fd, err)
		}
		unix.CloseOnExec(fd)
	}
	c.controllers.restore(s)
	c.last.Store(s.Last)
	for _, idle := range s.Idle {
		if err := checkCgroupName(idle.Name); err != nil {
			return nil, err
		}
		c.idle = append(c.idle,
			idleCgroup{idle.Name, idle.used(), idle.limits(), idle.memory()})
	}
	for _, name := range s.Ending {
		if err := checkCgroupName(name); err != nil {
			return nil, err
		}
		(&cgroup{cgroups: c, name: name}).removeWhenEmpty()
	}
	return c, c.bound(maxRunning)
}

// restore goes on with the controllers as they are. The totals come from the configuration.
func (c *controllers) restore(s CgroupsState) {
	c.folder, c.unit, c.jobs = s.Jobs, -1, -1
	if s.UnitControl > 0 && s.JobsControl > 0 {
		c.unit, c.jobs = s.UnitControl, s.JobsControl
	}
	for k, name := range controllerNames {
		enabled := slices.Contains(s.Controllers, name)
		c.states[k] = controllerState{tried: enabled, enabled: enabled}
	}
	c.totals, c.wanted = s.Totals, s.Totals
	c.totalMemory.Store(s.Totals.Memory > 0)
}
