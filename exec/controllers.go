package exec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a command as a whole, and of all commands together, take controllers of cgroups of
// version 2, which the kernel may lack, or have given to version 1 (the hybrid layout).
//
// A controller is enabled when the first command or total needs it, and stays so until the daemon
// ends: a host without limits pays nothing. systemd starts no process in a cgroup that has one
// enabled (EBUSY), so the daemon disables them at its end, and ExecStopPost= of the unit those of a
// daemon that was killed.

// controller is a controller of cgroups.
type controller int

const (
	memoryController controller = iota
	pidsController
	cpuController
	ioController
	controllerCount
)

// enableTries bounds the attempts to enable a controller while a process is still about to leave
// the unit's own cgroup.
const enableTries = 10

var controllerNames = [controllerCount]string{"memory", "pids", "cpu", "io"}

// takes reports whether one of the limits takes a controller.
func (l Limits) takes(k controller) bool {
	return [controllerCount]uint64{
		memoryController: l.Memory, pidsController: l.Processes,
		cpuController: l.MilliCPU | l.CPUWeight, ioController: l.IOWeight,
	}[k] > 0
}

// Controllers returns the names of the controllers of cgroups that the limits take.
func (l Limits) Controllers() (names []string) {
	for k, name := range controllerNames {
		if l.takes(controller(k)) {
			names = append(names, name)
		}
	}
	return names
}

// Totals bound all commands together. 0 each: no bound.
type Totals struct {
	Memory    uint64 // bytes
	Processes uint64
}

// controllers are those of the commands' cgroups, with the limits that they hold.
type controllers struct {
	folder int // that of the commands' cgroups
	// cgroup.subtree_control of the unit and of the folder, opened by root; -1: unknown.
	unit, jobs int

	mu     sync.Mutex
	states [controllerCount]controllerState
	totals Totals // as they are in force
	wanted Totals // as they are to be

	totalMemory atomic.Bool // the memory of all commands is bounded
	made        atomic.Uint64
	crowded     atomic.Bool // see maxDyingCgroups
}

type controllerState struct {
	tried   bool
	enabled bool
	err     error
}

// open opens the files as root, and disables the controllers that an earlier daemon has left: a
// file of a controller belongs to the user who enables that.
func (c *controllers) open(unit, folder int) (err error) {
	c.folder = folder
	const flags, name = unix.O_RDWR | unix.O_CLOEXEC, "cgroup.subtree_control"
	if c.unit, err = unix.Openat(unit, name, flags, 0); err != nil {
		return fmt.Errorf("cannot open %s of the daemon's cgroup: %w", name, err)
	}
	if c.jobs, err = unix.Openat(folder, name, flags, 0); err != nil {
		unix.Close(c.unit)
		return fmt.Errorf("cannot open %s of the commands' cgroup: %w", name, err)
	}
	c.clear()
	return nil
}

// clear disables all controllers.
func (c *controllers) clear() {
	for _, fd := range []int{c.jobs, c.unit} {
		text := make([]byte, 512)
		n, _ := unix.Pread(fd, text, 0)
		for _, left := range bytes.Fields(text[:max(n, 0)]) {
			_, _ = unix.Pwrite(fd, append([]byte("-"), left...), 0)
		}
	}
}

// disable disables the controllers again, so that systemd can start processes in the unit's cgroup.
// Commands that still run have no limit any more but those of processes.
func (c *controllers) disable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.states = [controllerCount]controllerState{}
	c.totalMemory.Store(false)
}

// enable makes a controller act in the cgroups of commands. The first error stays.
func (c *controllers) enable(k controller) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enableLocked(k)
}

// enableLocked needs mu.
func (c *controllers) enableLocked(k controller) error {
	if c.states[k].tried {
		return c.states[k].err
	}
	name := controllerNames[k]
	err := c.write("+"+name, c.unit, c.jobs)
	if err == nil && k == ioController && !c.hasIOWeight() {
		err = errors.New("it has neither io.weight nor io.bfq.weight, as the kernel has neither " +
			"io.cost nor the scheduler BFQ")
	}
	if err != nil {
		_ = c.write("-"+name, c.jobs, c.unit)
		err = enableError(name, err)
	}
	c.states[k] = controllerState{tried: true, enabled: err == nil, err: err}
	return err
}

// The weights of I/O: that of io.cost, and that of the disk scheduler BFQ. Each acts on the disks
// that have the one enabled.
const (
	ioWeightFile  = "io.weight"
	bfqWeightFile = "io.bfq.weight"
)

func (c *controllers) hasIOWeight() bool {
	return unix.Faccessat(c.folder, ioWeightFile, unix.F_OK, 0) == nil ||
		unix.Faccessat(c.folder, bfqWeightFile, unix.F_OK, 0) == nil
}

// write writes the text to the files in turn.
func (c *controllers) write(text string, files ...int) (err error) {
	for _, fd := range files {
		if fd < 0 {
			return errors.New("the daemon was started by a release that had none, restart it")
		}
		for range enableTries {
			if _, err = unix.Pwrite(fd, []byte(text), 0); err != unix.EBUSY {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func enableError(name string, err error) error {
	if err == unix.ENOENT {
		return missingError{name}
	}
	return fmt.Errorf("cannot enable the %s controller for commands: %w", name, err)
}

// missingError has the names of controllers that are not to be had.
type missingError []string

func (e missingError) Error() string {
	return fmt.Sprintf("the daemon's cgroup of version 2 has no controller %s: the kernel lacks "+
		"it, has it in version 1 (the hybrid layout), or the unit lacks Delegate=yes",
		strings.Join(e, ", "))
}

// joinCauses is one error of several or none, on one line, that names missing controllers together.
func joinCauses(causes ...error) error {
	var missing missingError
	var joined error
	for _, err := range causes {
		names, isMissing := errors.AsType[missingError](err)
		switch {
		case isMissing:
			missing = append(missing, names...)
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	switch {
	case missing == nil:
		return joined
	case joined == nil:
		return missing
	}
	return fmt.Errorf("%w; %w", missing, joined)
}
