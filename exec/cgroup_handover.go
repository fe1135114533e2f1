package exec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
)

// CgroupState is the cgroup of a command.
type CgroupState struct {
	Name string
	Gone bool // removed, or another command's
	cgroupLimits
	cpuTime // used by earlier commands, as the next
	memoryUse
}

func (g *cgroup) state() *CgroupState {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &CgroupState{g.name, g.gone, g.limits, g.before, g.memoryBefore}
}

func (c *Cgroups) restoreOne(s CgroupState) (*cgroup, error) {
	if err := checkCgroupName(s.Name); err != nil {
		return nil, err
	}
	return &cgroup{
		cgroups: c, name: s.Name, gone: s.Gone, limits: s.cgroupLimits, before: s.cpuTime,
		memoryBefore: s.memoryUse,
	}, nil
}

func (r *Runner) restoreCgroup(s *CgroupState) (*cgroup, error) {
	if s == nil {
		return nil, nil
	}
	if r.cgroups == nil {
		return nil, errors.New("cannot restore a command in a cgroup: there are no cgroups")
	}
	c := r.cgroups
	c.mu.Lock()
	defer c.mu.Unlock()
	if g, found := c.ending[s.Name]; found && !s.Gone {
		return g, nil
	}
	return c.restoreOne(*s)
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
		s.Idle = append(s.Idle, *idle.state())
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

// RestoreCgroups goes on with the cgroups of the program before, and bounds their number for
// maxRunning commands. They may still be frozen: call Thaw.
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
		g, err := c.restoreOne(idle)
		if err != nil {
			return nil, err
		}
		c.idle = append(c.idle, g)
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
