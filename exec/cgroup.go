package exec

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxRemovals bounds the attempts to remove a cgroup, with pauses that double, from 1 s on.
	maxRemovals = 7
	// maxFreeze bounds the wait until all processes of a cgroup are frozen: one that hangs in the
	// kernel never is.
	maxFreeze = 500 * time.Millisecond
)

// Cgroups are the cgroups of commands, below the unit's. All of them belong to the daemon's user,
// and commands can write none of them.
//
//	UNIT/               cgroup.procs belongs to the daemon's user as well: it can start a
//	│                   process in a cgroup only if it may write that of the common ancestor
//	├─ daemon/          both roles
//	└─ jobs/            root bounds the number of cgroups in it; controllers.go says what else
//	   ├─ 1/            one command with all its processes, until the last has ended
//	   └─ 2/            empty, for the next command
type Cgroups struct {
	jobs     int  // the folder, for *at calls
	most     int  // the file of the bound of cgroups in it, opened by root
	killFile bool // cgroup.kill: Linux 5.14
	proven   bool // a program before this one has proved that processes can start and end in it
	sweeping sync.Once
	last     atomic.Uint64 // the latest name given to a cgroup

	controllers controllers

	mu     sync.Mutex
	idle   []*cgroup          // empty, for the next commands
	ending map[string]*cgroup // removed when their last process has ended
}

// cgroup is the cgroup of one command, with every process that the command has started, also one
// that changed its process group, session or user. It has no open descriptor: there may be
// thousands.
type cgroup struct {
	cgroups *Cgroups
	name    string
	limits  cgroupLimits

	// Used by earlier commands.
	before       cpuTime
	memoryBefore memoryUse

	mu   sync.Mutex
	gone bool // removed, or given back to the idle ones: it may belong to another command
}

// SetTotals bounds all commands together, also those that run. A bound of memory below what they
// use now comes into force when they use less: nothing is ended for it. The error says which bound
// cannot be had.
func (c *Cgroups) SetTotals(t Totals) error { return c.controllers.bound(t) }

// Close ends the limits of all commands but those of processes, so that systemd can start processes
// in the unit's cgroup. No command is started afterwards.
func (c *Cgroups) Close() { c.controllers.disable() }

// KillsEveryUser reports whether the end of a command includes its processes of other users, which
// only cgroup.kill (Linux 5.14) reaches.
func (c *Cgroups) KillsEveryUser() bool { return c.killFile }

// allPIDs lists the live processes of all commands.
func (c *Cgroups) allPIDs() (all []int) {
	for _, name := range c.names() {
		pids, _ := readPIDs(c.jobs, name+"/cgroup.procs")
		all = append(all, pids...)
	}
	return all
}

// names lists the cgroups in the folder of commands.
func (c *Cgroups) names() (names []string) {
	fd, err := unix.Openat(c.jobs, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), "jobs")
	defer file.Close()
	entries, _ := file.ReadDir(-1)
	for _, entry := range entries {
		if entry.Type() == fs.ModeDir {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (g *cgroup) open() (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	return unix.Openat(g.cgroups.jobs, g.name, flags, 0)
}

// kill ends all processes at once, also those that fork meanwhile. With cgroup.kill it also ends
// processes of other users; without it such a process lives on, and the error is EPERM.
func (g *cgroup) kill() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return nil
	}
	if g.cgroups.killFile {
		return writeFile(g.cgroups.jobs, g.name+"/cgroup.kill", "1")
	}
	return g.freezeAndKill()
}

// freezeAndKill serves Linux 5.7 to 5.13. A frozen process does not fork, and dies of SIGKILL. An
// error says that a process may live on: one of another user, or one that could not be listed or
// signalled for want of descriptors. It needs mu.
func (g *cgroup) freezeAndKill() error {
	const flags = unix.O_WRONLY | unix.O_CLOEXEC
	freeze, err := unix.Openat(g.cgroups.jobs, g.name+"/cgroup.freeze", flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(freeze)
	if _, err := unix.Write(freeze, []byte("1")); err != nil {
		return err
	}
	// By the same descriptor: there may be no other one.
	defer func() { _, _ = unix.Write(freeze, []byte("0")) }()
	for until := time.Now().Add(maxFreeze); ; time.Sleep(2 * time.Millisecond) {
		var failed error
		list := func() []int {
			pids, err := readPIDs(g.cgroups.jobs, g.name+"/cgroup.procs")
			failed = cmp.Or(failed, err)
			return pids
		}
		frozen := g.eventsContain("frozen 1")
		err := signalEach(list, 0, syscall.SIGKILL)
		empty := len(list()) == 0
		err = cmp.Or(failed, err)
		reached := (frozen || empty) && (err == nil || err == unix.EPERM)
		if reached || time.Now().After(until) {
			return err
		}
	}
}

// pids lists the live processes.
func (g *cgroup) pids() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return nil
	}
	return g.listPIDs()
}

func (g *cgroup) listPIDs() []int {
	pids, _ := readPIDs(g.cgroups.jobs, g.name+"/cgroup.procs")
	return pids
}

func (g *cgroup) eventsContain(event string) bool {
	events, err := readFile(g.cgroups.jobs, g.name+"/cgroup.events")
	return err == nil && bytes.Contains(events, []byte(event))
}

// cpuTime is the processor time of all processes that were ever in a cgroup.
type cpuTime struct{ UserTime, SystemTime time.Duration }

func (c *Cgroups) cpuTime(name string) (used cpuTime, err error) {
	stat, err := readFile(c.jobs, name+"/cpu.stat")
	if err == nil && !bytes.Contains(stat, []byte("\nsystem_usec ")) {
		err = errors.New("there is no system_usec in cpu.stat")
	}
	used.UserTime = time.Duration(numberAfter(stat, "user_usec ")) * time.Microsecond
	used.SystemTime = time.Duration(numberAfter(stat, "system_usec ")) * time.Microsecond
	return used, err
}

// used is the processor time of this command.
func (g *cgroup) used() (cpuTime, error) {
	now, err := g.cgroups.cpuTime(g.name)
	now.UserTime -= g.before.UserTime
	now.SystemTime -= g.before.SystemTime
	return now, err
}

// memoryUsed is that of this command. It is zero if its memory has no limit.
func (g *cgroup) memoryUsed() (use memoryUse) {
	if !g.limits.Watched {
		return use
	}
	use = g.cgroups.controllers.memoryUse(g.name)
	use.OOMKills -= min(use.OOMKills, g.memoryBefore.OOMKills)
	if use.Peak <= g.memoryBefore.Peak {
		use.Peak = 0
	}
	return use
}

var errMemoryUsed = hostFault(nil, "cannot start the command: it has too little memory "+
	"(LIMIT_MEMORY), or all commands together have used theirs (TOTAL_MEMORY), also for files in "+
	"memory such as those in /dev/shm")

// explain says which limit kept a command from starting, if that is one of its cgroup's.
func (g *cgroup) explain(err error) error {
	switch {
	case g.limits.Watched && (g.memoryUsed().OOMKills > 0 || errors.Is(err, unix.ENOMEM) ||
		// The kernel's error for an execve that gets no page for its arguments.
		errors.Is(err, unix.E2BIG) && g.cgroups.controllers.isFull(g.name)):
		return errMemoryUsed
	case errors.Is(err, unix.EAGAIN) && g.cgroups.controllers.hasTotalProcesses():
		return hostFault(nil, "cannot start the command: all commands together have as many "+
			"processes as they may (TOTAL_PROCESSES), or the host has")
	}
	return err
}

// remove removes an empty cgroup, and reports whether it is gone. A cgroup that root has made in
// it, as by sudo, keeps it until the unit ends.
func (g *cgroup) remove() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone {
		err := unix.Unlinkat(g.cgroups.jobs, g.name, unix.AT_REMOVEDIR)
		g.gone = err == nil || err == unix.ENOENT
	}
	return g.gone
}

// removeWhenEmpty removes the cgroup when its last process has ended, and does not wait for that.
// It keeps nothing of the command in memory, and gives up after about two minutes of failed
// attempts.
func (g *cgroup) removeWhenEmpty() {
	g.cgroups.noteEnding(g, true)
	go func() {
		defer g.cgroups.noteEnding(g, false)
		for i := range maxRemovals {
			if g.awaitEmpty() == unix.ENOENT || g.remove() {
				return
			}
			time.Sleep(time.Second << i)
		}
	}()
}

func (c *Cgroups) noteEnding(g *cgroup, ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ending {
		c.ending[g.name] = g
	} else {
		delete(c.ending, g.name)
	}
}

// awaitEmpty waits in the netpoller until no process is in the cgroup. Zombies do not count.
func (g *cgroup) awaitEmpty() error {
	name := g.name + "/cgroup.events"
	fd, err := unix.Openat(g.cgroups.jobs, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	events := os.NewFile(uintptr(fd), "cgroup.events")
	defer events.Close()
	raw, err := events.SyscallConn()
	if err != nil {
		return err
	}
	// The kernel wakes pollers of this file whenever it changes.
	return raw.Read(func(uintptr) bool {
		var text [128]byte
		n, err := unix.Pread(fd, text[:], 0)
		return err != nil || !bytes.Contains(text[:n], []byte("populated 1"))
	})
}
