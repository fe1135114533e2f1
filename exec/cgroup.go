package exec

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxIdle bounds the empty cgroups kept for the next commands. Making and removing one costs
	// several times as much as reusing one.
	maxIdle = 64
	// maxRemovals bounds the attempts to remove a cgroup: the pauses between them double, from 1 s
	// on.
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
//	└─ jobs/            root bounds the number of cgroups in it
//	   ├─ 1/            one command with all its processes, until the last has ended
//	   └─ 2/            empty, for the next command
type Cgroups struct {
	jobs     int  // the folder, for *at calls
	most     int  // the file of the bound of cgroups in it, opened by root
	killFile bool // cgroup.kill: Linux 5.14
	proven   bool // a program before this one has proved that processes can start and end in it
	sweeping sync.Once
	last     atomic.Uint64 // the latest name given to a cgroup

	mu     sync.Mutex
	idle   []idleCgroup
	ending map[string]*cgroup // removed when their last process has ended
}

// idleCgroup is an empty cgroup, with the time used so far.
type idleCgroup struct {
	name string
	used cpuTime
}

// KillsEveryUser reports whether the end of a command includes its processes of other users, which
// only cgroup.kill (Linux 5.14) reaches.
func (c *Cgroups) KillsEveryUser() bool { return c.killFile }

// acquire returns a cgroup without processes: a new one if fresh, else an idle one if there is one.
// The descriptor is for the birth, and closed by the caller.
func (c *Cgroups) acquire(fresh bool) (*cgroup, int, error) {
	if !fresh {
		if g := c.takeIdle(); g != nil {
			if dir, err := g.open(); err == nil {
				return g, dir, nil
			}
			g.remove()
		}
	}
	name := strconv.FormatUint(c.last.Add(1), 10)
	if err := unix.Mkdirat(c.jobs, name, 0o755); err != nil {
		return nil, -1, cgroupError(err)
	}
	g := &cgroup{cgroups: c, name: name}
	dir, err := g.open()
	if err != nil {
		g.remove()
		return nil, -1, cgroupError(err)
	}
	return g, dir, nil
}

// takeIdle returns nil if there is no idle cgroup.
func (c *Cgroups) takeIdle() *cgroup {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	last := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return &cgroup{cgroups: c, name: last.name, before: last.used}
}

func cgroupError(err error) error {
	what := "cannot make a cgroup for the command"
	if err == unix.EAGAIN {
		what += ": too many commands have left processes in the background, end some of those"
	}
	return hostFault(err, "%s", what)
}

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

// cpuTime is the processor time of all processes that were ever in a cgroup.
type cpuTime struct{ user, system time.Duration }

func (c *Cgroups) cpuTime(name string) (used cpuTime, err error) {
	stat, err := readFile(c.jobs, name+"/cpu.stat")
	if err != nil {
		return used, err
	}
	for _, field := range []struct {
		name string
		time *time.Duration
	}{{"user_usec ", &used.user}, {"system_usec ", &used.system}} {
		_, rest, found := bytes.Cut(stat, []byte("\n"+field.name))
		number, _, _ := bytes.Cut(rest, []byte("\n"))
		if !found {
			return used, fmt.Errorf("there is no %sin cpu.stat", field.name)
		}
		us, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			return used, err
		}
		*field.time = time.Duration(us) * time.Microsecond
	}
	return used, nil
}

// cgroup is the cgroup of one command. It holds every process that the command has started, also
// one that changed its process group, session or user. It keeps no descriptor open: there may be
// thousands.
type cgroup struct {
	cgroups *Cgroups
	name    string
	before  cpuTime // used by earlier commands

	mu   sync.Mutex
	gone bool // removed, or given back to the idle ones: it may belong to another command
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

// used is the processor time of this command.
func (g *cgroup) used() (cpuTime, error) {
	now, err := g.cgroups.cpuTime(g.name)
	return cpuTime{now.user - g.before.user, now.system - g.before.system}, err
}

// giveBack keeps the cgroup for another command if it is as good as new, and reports whether it
// did.
func (g *cgroup) giveBack() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone || !g.isClean() {
		return g.gone
	}
	used, err := g.cgroups.cpuTime(g.name)
	if err != nil {
		return false
	}
	c := g.cgroups
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < maxIdle {
		c.idle = append(c.idle, idleCgroup{g.name, used})
		g.gone = true
	}
	return g.gone
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

func (g *cgroup) eventsContain(event string) bool {
	events, err := readFile(g.cgroups.jobs, g.name+"/cgroup.events")
	return err == nil && bytes.Contains(events, []byte(event))
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
			if g.awaitEmpty() != nil || g.remove() {
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

// readPIDs reads a list of process ids of any length.
func readPIDs(dir int, name string) (pids []int, err error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, lines.Err()
}

// readFile reads at most 512 bytes.
func readFile(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text := make([]byte, 512)
	n, err := unix.Read(fd, text)
	return text[:max(n, 0)], err
}

func writeFile(dir int, name, text string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}
