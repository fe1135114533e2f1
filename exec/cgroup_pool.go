package exec

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxIdle bounds the empty cgroups kept for the next commands. Making and removing one costs
// several times as much as reusing one.
const maxIdle = 64

// acquire returns a cgroup without processes that has the limits: a new one if fresh, else an idle
// one if there is one. The descriptor is for the birth, and closed by the caller.
func (c *Cgroups) acquire(fresh bool, limits cgroupLimits) (*cgroup, int, error) {
	if !fresh && c.controllers.isReusable(limits) {
		if g := c.takeIdle(limits); g != nil {
			if dir, err := g.open(); err == nil {
				return g, dir, nil
			}
			g.remove()
		}
	}
	name := strconv.FormatUint(c.last.Add(1), 10)
	if err := unix.Mkdirat(c.jobs, name, 0o755); err != nil {
		return nil, -1, c.makeError(err)
	}
	g := &cgroup{cgroups: c, name: name, limits: limits}
	c.controllers.noteMade(limits)
	if err := c.controllers.limit(name, limits); err != nil {
		g.remove()
		return nil, -1, hostFault(err, "cannot set the limits of the command's cgroup")
	}
	dir, err := g.open()
	if err != nil {
		g.remove()
		return nil, -1, c.makeError(err)
	}
	return g, dir, nil
}

// takeIdle returns the latest idle cgroup with the limits, nil if there is none.
func (c *Cgroups) takeIdle(limits cgroupLimits) *cgroup {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, idle := range slices.Backward(c.idle) {
		if idle.limits == limits {
			c.idle = slices.Delete(c.idle, i, i+1)
			return idle
		}
	}
	return nil
}

func (c *Cgroups) makeError(err error) error {
	if err == unix.ENOMEM && c.controllers.totalMemory.Load() {
		return errMemoryUsed // the folder's own memory holds the cgroups in it
	}
	what := "cannot make a cgroup for the command"
	if err == unix.EAGAIN {
		what += ": too many commands have left processes in the background, end some of those"
	}
	return hostFault(err, "%s", what)
}

// giveBack keeps the cgroup for another command if it is as good as new, and reports whether it
// did. If there are enough it removes the one that was idle for longest: the next commands may have
// the limits of this one.
func (g *cgroup) giveBack() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.cgroups
	if g.gone || !c.controllers.isReusable(g.limits) || !g.isClean() {
		return g.gone
	}
	used, err := c.cpuTime(g.name)
	if err != nil {
		return false
	}
	idle := &cgroup{cgroups: c, name: g.name, limits: g.limits, before: used}
	if g.limits.Watched {
		idle.memoryBefore = c.controllers.memoryUse(g.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == maxIdle {
		oldest := c.idle[0]
		if oldest.limits == g.limits {
			return false
		}
		c.idle = slices.Delete(c.idle, 0, 1)
		_ = unix.Unlinkat(c.jobs, oldest.name, unix.AT_REMOVEDIR)
	}
	c.idle = append(c.idle, idle)
	g.gone = true
	return true
}

// isClean reports whether the cgroup has no process and no cgroup in it, and is not frozen, which
// would stop the next command. Only root can have made or frozen one.
func (g *cgroup) isClean() bool {
	if !g.eventsContain("populated 0") || g.eventsContain("frozen 1") {
		return false
	}
	var stat unix.Stat_t
	err := unix.Fstatat(g.cgroups.jobs, g.name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && stat.Nlink == 2
}
