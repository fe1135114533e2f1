package exec

import (
	"bytes"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxIdle bounds the empty cgroups kept for the next commands. Making one and
// removing it costs several times as much as using one again.
const maxIdle = 64

// idle is an empty cgroup, with what it has used so far.
type idle struct {
	name string
	used usage
}

// newTree gives a cgroup with no process in it. The descriptor is for the
// start alone.
func (c *Cgroups) newTree() (*tree, int, error) {
	t := c.again()
	if t == nil {
		return c.freshTree()
	}
	dir, err := t.open()
	if err == nil {
		return t, dir, nil
	}
	t.discard()
	return c.freshTree()
}

func (c *Cgroups) freshTree() (*tree, int, error) {
	name := strconv.FormatUint(c.next.Add(1), 10)
	if err := unix.Mkdirat(c.jobs, name, 0o755); err != nil {
		return nil, -1, treeError(err)
	}
	t := &tree{cgroups: c, name: name}
	dir, err := t.open()
	if err != nil {
		t.discard()
		return nil, -1, treeError(err)
	}
	return t, dir, nil
}

func treeError(err error) error {
	return &StartError{Fault: FaultHost, What: "cannot make a cgroup for the command", Err: err}
}

// again takes an idle cgroup, nil if there is none.
func (c *Cgroups) again() *tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	last := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return &tree{cgroups: c, name: last.name, before: last.used, again: true}
}

// keep takes a cgroup back if it is as good as new.
func (c *Cgroups) keep(name string) bool {
	if !c.isClean(name) {
		return false
	}
	used, err := c.used(name)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= maxIdle {
		return false
	}
	c.idle = append(c.idle, idle{name, used})
	return true
}

// isClean says whether nothing is in a cgroup: no process, no cgroup, and no
// freezing that would hold the next command.
func (c *Cgroups) isClean(name string) bool {
	events, err := readSmall(c.jobs, name+"/cgroup.events")
	if err != nil || !bytes.Contains(events, []byte("populated 0")) || bytes.Contains(events, []byte("frozen 1")) {
		return false
	}
	var stat unix.Stat_t
	err = unix.Fstatat(c.jobs, name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && stat.Nlink == 2
}

// isIdle is for those who look at the folder.
func (c *Cgroups) isIdle(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.idle, func(i idle) bool { return i.name == name })
}

// readSmall reads a file of a few lines.
func readSmall(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text := make([]byte, 512)
	n, err := unix.Read(fd, text)
	return text[:max(n, 0)], err
}

func writeSmall(dir int, name, text string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}
