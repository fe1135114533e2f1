package exec

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// subfolders bounds how deep a command can make cgroups in its own, and how
	// deep we look for them.
	subfolders = 16
	// removals bounds how often we try to remove an empty tree.
	removals = 7
)

// tree is the cgroup of one command, with every process that the command has
// started, whatever group or session it moved to and whoever it has become. It
// holds no descriptor: there may be thousands.
type tree struct {
	cgroups *Cgroups
	name    string
	before  usage // what former commands used
	again   bool  // there were former ones

	mu   sync.Mutex
	gone bool // empty and given back: from now on it is another's
}

// usage is the processor time of a tree, of all that has ever been in it.
type usage struct{ user, system time.Duration }

func (t *tree) open() (int, error) {
	return unix.Openat(t.cgroups.jobs, t.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}

// kill ends every process in the tree at once, also those that fork meanwhile
// and those that have become another user.
func (t *tree) kill() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil
	}
	return writeSmall(t.cgroups.jobs, t.name+"/cgroup.kill", "1")
}

// pids lists the live processes, of sub-cgroups as well.
func (t *tree) pids() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil
	}
	return pidsBelow(t.cgroups.jobs, t.name, subfolders)
}

func pidsBelow(dir int, name string, depth int) []int {
	pids, _ := pidsIn(dir, name+"/cgroup.procs")
	if depth == 0 {
		return pids
	}
	for _, folder := range foldersIn(dir, name) {
		pids = append(pids, pidsBelow(dir, name+"/"+folder, depth-1)...)
	}
	return pids
}

// giveBack leaves an empty tree to the next command, and says whether it has.
func (t *tree) giveBack() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = t.gone || t.cgroups.keep(t.name)
	return t.gone
}

// discard removes an empty tree, and says whether it has.
func (t *tree) discard() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = t.gone || removeBelow(t.cgroups.jobs, t.name, subfolders)
	return t.gone
}

// removeBelow also removes the cgroups that a command made in its own.
func removeBelow(dir int, name string, depth int) bool {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if err != unix.EBUSY || depth == 0 {
		return err == nil || err == unix.ENOENT
	}
	removed := false
	for _, folder := range foldersIn(dir, name) {
		removed = removeBelow(dir, name+"/"+folder, depth-1) || removed
	}
	return removed && unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil
}

// outlast removes the tree when its last process has ended. It waits in the
// netpoller, and keeps nothing of the command in memory.
//
// An empty tree may resist: another command has moved into it for a moment, or
// its own has left a cgroup in it that we may not look into. After two minutes
// of trying, more and more seldom, it is left to the end of the unit.
func (t *tree) outlast() {
	for i := range removals {
		if t.awaitEmpty() != nil || t.discard() {
			return
		}
		time.Sleep(time.Second << i)
	}
}

// awaitEmpty returns when no process is in the tree. Zombies do not count.
func (t *tree) awaitEmpty() error {
	fd, err := unix.Openat(t.cgroups.jobs, t.name+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	events := os.NewFile(uintptr(fd), "cgroup.events")
	defer events.Close()
	raw, err := events.SyscallConn()
	if err != nil {
		return err
	}
	// The kernel wakes who polls this file whenever it changes.
	return raw.Read(func(uintptr) bool { return !isPopulated(fd) })
}

func isPopulated(events int) bool {
	var text [128]byte
	n, err := unix.Pread(events, text[:], 0)
	return err == nil && bytes.Contains(text[:n], []byte("populated 1"))
}

// usage is what this command used.
func (t *tree) usage() (usage, error) {
	now, err := t.cgroups.used(t.name)
	return usage{now.user - t.before.user, now.system - t.before.system}, err
}

func (c *Cgroups) used(name string) (u usage, err error) {
	stat, err := readSmall(c.jobs, name+"/cpu.stat")
	if err != nil {
		return u, err
	}
	if u.user, err = microseconds(stat, "user_usec "); err != nil {
		return u, err
	}
	u.system, err = microseconds(stat, "system_usec ")
	return u, err
}

func microseconds(stat []byte, name string) (time.Duration, error) {
	_, rest, found := bytes.Cut(stat, []byte("\n"+name))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	if !found {
		return 0, fmt.Errorf("there is no %sin cpu.stat", name)
	}
	us, err := strconv.ParseInt(string(number), 10, 64)
	return time.Duration(us) * time.Microsecond, err
}
