package exec

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// subfolders bounds how deep cgroups are removed that a command made in its own.
const subfolders = 16

// tree is the cgroup of one command, with every process that the command has
// started, whatever group or session it moved to and whoever it has become. It
// holds no descriptor: there may be thousands.
type tree struct {
	jobs int
	name string
}

// newTree makes a cgroup. The descriptor is for the start alone.
func (c *Cgroups) newTree() (*tree, int, error) {
	t := &tree{jobs: c.jobs, name: strconv.FormatUint(c.next.Add(1), 10)}
	err := unix.Mkdirat(c.jobs, t.name, 0o755)
	if err != nil {
		return nil, -1, treeError(err)
	}
	dir, err := unix.Openat(c.jobs, t.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		t.remove()
		return nil, -1, treeError(err)
	}
	return t, dir, nil
}

func treeError(err error) error {
	return &StartError{Fault: FaultHost, What: "cannot make a cgroup for the command", Err: err}
}

// kill ends every process in the tree at once, also those that fork meanwhile
// and those that have become another user.
func (t *tree) kill() error { return t.write("cgroup.kill", "1") }

func (t *tree) write(file, text string) error {
	fd, err := unix.Openat(t.jobs, t.name+"/"+file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// pids lists the live processes, of sub-cgroups as well.
func (t *tree) pids() []int { return pidsBelow(t.jobs, t.name, subfolders) }

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

// remove succeeds once nothing is in the tree any more.
func (t *tree) remove() bool { return removeCgroup(t.jobs, t.name) }

func removeCgroup(dir int, name string) bool {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	return err == nil || err == unix.ENOENT
}

// removeBelow also removes the cgroups that the command made in its own.
func removeBelow(dir int, name string, depth int) bool {
	if depth > 0 {
		for _, folder := range foldersIn(dir, name) {
			removeBelow(dir, name+"/"+folder, depth-1)
		}
	}
	return removeCgroup(dir, name)
}

// outlast removes the tree when its last process has ended. It waits in the
// netpoller, and keeps nothing of the command in memory.
func (t *tree) outlast() {
	for !removeBelow(t.jobs, t.name, subfolders) {
		if t.awaitEmpty() != nil {
			return
		}
	}
}

// awaitEmpty returns when no process is in the tree. Zombies do not count.
func (t *tree) awaitEmpty() error {
	fd, err := unix.Openat(t.jobs, t.name+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
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

// usage is the processor time of every process that has been in the tree.
func (t *tree) usage() (user, system time.Duration, err error) {
	fd, err := unix.Openat(t.jobs, t.name+"/cpu.stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	var text [512]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return 0, 0, err
	}
	user, err = microseconds(text[:n], "user_usec ")
	if err != nil {
		return 0, 0, err
	}
	system, err = microseconds(text[:n], "system_usec ")
	return user, system, err
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
