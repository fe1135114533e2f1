package exec

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a command as a whole, and of all commands together. They take controllers of cgroups of
// version 2, which the kernel may lack, or have given to version 1 (the hybrid layout).
//
// A controller is enabled when the first command or total needs it, and stays enabled until the
// daemon ends: a host that sets no limit pays nothing. systemd cannot start a process in a cgroup
// that has one enabled (EBUSY), so the daemon disables them at its end, and ExecStopPost= of the
// unit those that a killed daemon has left.

// controller is a controller of cgroups.
type controller int

const (
	memoryController controller = iota
	pidsController
	cpuController
	ioController
	controllerCount
)

var controllerNames = [controllerCount]string{"memory", "pids", "cpu", "io"}

const (
	// cpuPeriod is the period of cpu.max, in microseconds, and the kernel's default.
	cpuPeriod = 100_000
	// maxPIDs is the highest value of pids.max, and maxMemory one that memory.max takes.
	maxPIDs   = 1 << 22
	maxMemory = 1 << 60
	// maxDyingCgroups bounds the removed cgroups that the kernel still has, as files that their
	// commands wrote or read are in its cache. Beyond it, cgroups with a limit of memory are
	// reused.
	maxDyingCgroups = 512
	// dyingInterval is after how many new cgroups the dying ones are counted.
	dyingInterval = 64
	// enableTries bounds the attempts to enable a controller while a process is still about to
	// leave the unit's own cgroup.
	enableTries = 10
)

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

// cgroupLimits are what the files of a command's cgroup say. 0 each: nothing.
type cgroupLimits struct {
	memory, processes, milliCPU uint64
	cpuWeight, ioWeight         uint64
	watched                     bool // memory can run out: its use and its end are observed
}

// split returns what the cgroup of a command holds of its limits, and what is left for its
// processes.
func (c *controllers) split(l Limits) (held cgroupLimits, rest Limits, by LimitsBy) {
	if l.byProcess() == ByNone {
		return cgroupLimits{watched: c.totalMemory.Load()}, l, ByNone
	}
	rest, by = l, ByCgroup
	for _, limit := range []struct {
		controller controller
		asked      *uint64
		held       *uint64
		most       uint64
	}{
		{memoryController, &rest.Memory, &held.memory, maxMemory},
		{pidsController, &rest.Processes, &held.processes, maxPIDs},
		{cpuController, &rest.MilliCPU, &held.milliCPU, 1 << 32},
		{cpuController, &rest.CPUWeight, &held.cpuWeight, MaxWeight},
		{ioController, &rest.IOWeight, &held.ioWeight, MaxWeight},
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
	held.watched = held.memory > 0 || c.totalMemory.Load()
	return held, rest, by
}

// enable makes a controller act in the cgroups of commands. The first error stays.
func (c *controllers) enable(k controller) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enableLocked(k)
}

// enableLocked needs mu.
func (c *controllers) enableLocked(k controller) error {
	s := &c.states[k]
	if !s.tried {
		s.tried = true
		s.err = c.write("+"+controllerNames[k], c.unit, c.jobs)
		if s.err == nil && k == ioController && !c.hasIOWeight() {
			s.err = errors.New("it has neither io.weight nor io.bfq.weight, as the kernel has " +
				"neither io.cost nor the scheduler BFQ")
		}
		s.enabled = s.err == nil
		if s.err != nil {
			_ = c.write("-"+controllerNames[k], c.jobs, c.unit)
			s.err = enableError(controllerNames[k], s.err)
		}
	}
	return s.err
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

// open opens the files as root, and disables the controllers that a daemon before this one
// has left: a file of a controller belongs to the user who enables that.
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
	for k, s := range c.states {
		if s.enabled {
			_ = c.write("-"+controllerNames[k], c.jobs, c.unit)
		}
	}
	c.states = [controllerCount]controllerState{}
	c.totalMemory.Store(false)
}

// bound brings the totals into force. One of memory below what the commands use now has to wait
// until they use less.
func (c *controllers) bound(t Totals) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = t
	return joinCauses(c.boundMemory(), c.boundProcesses())
}

// retryTotals brings a bound of memory into force that had to wait.
func (c *controllers) retryTotals() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted.Memory != c.totals.Memory &&
		c.states[memoryController].enabled {
		_ = c.boundMemory()
	}
}

// boundMemory needs mu.
func (c *controllers) boundMemory() error {
	most := c.wanted.Memory
	if most == c.totals.Memory {
		return nil
	}
	if err := c.enableLocked(memoryController); err != nil {
		return err
	}
	if most > 0 {
		if now, err := readNumber(c.folder, "memory.current"); err != nil || now > most {
			return nil
		}
	}
	swap := "max"
	if most > 0 {
		swap = "0"
	}
	_ = writeFile(c.folder, "memory.swap.max", swap) // missing where the kernel counts no swap
	if err := writeFile(c.folder, "memory.max", orMax(most)); err != nil {
		return fmt.Errorf("cannot bound the memory of all commands together: %w", err)
	}
	c.totals.Memory = most
	c.totalMemory.Store(most > 0)
	return nil
}

// boundProcesses needs mu.
func (c *controllers) boundProcesses() error {
	most := c.wanted.Processes
	if most == c.totals.Processes {
		return nil
	}
	if err := c.enableLocked(pidsController); err != nil {
		return err
	}
	if err := writeFile(c.folder, "pids.max", orMax(min(most, maxPIDs))); err != nil {
		return fmt.Errorf("cannot bound the processes of all commands together: %w", err)
	}
	c.totals.Processes = most
	return nil
}

// orMax is a limit as the files of cgroups have it.
func orMax(limit uint64) string {
	if limit == 0 {
		return "max"
	}
	return strconv.FormatUint(limit, 10)
}

// limit writes the limits of a new cgroup.
func (c *controllers) limit(name string, l cgroupLimits) error {
	dir := c.folder
	if l.watched {
		// The command is killed as a whole: a part of one can go on in ways that nobody foresees.
		if err := writeFile(dir, name+"/memory.oom.group", "1"); err != nil {
			return err
		}
	}
	if l.memory > 0 {
		_ = writeFile(dir, name+"/memory.swap.max", "0")
		if err := writeFile(dir, name+"/memory.max", orMax(l.memory)); err != nil {
			return err
		}
	}
	if l.processes > 0 {
		if err := writeFile(dir, name+"/pids.max", orMax(l.processes)); err != nil {
			return err
		}
	}
	if l.milliCPU > 0 {
		quota := strconv.FormatUint(l.milliCPU*cpuPeriod/1000, 10)
		period := strconv.Itoa(cpuPeriod)
		if err := writeFile(dir, name+"/cpu.max", quota+" "+period); err != nil {
			return err
		}
	}
	if l.cpuWeight > 0 {
		if err := c.setWeight(name+"/cpu.weight", l.cpuWeight); err != nil {
			return err
		}
	}
	if l.ioWeight > 0 {
		return c.setIOWeight(name, l.ioWeight)
	}
	return nil
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

// setIOWeight sets each of the two that the kernel has.
func (c *controllers) setIOWeight(name string, weight uint64) error {
	err := c.setWeight(name+"/"+ioWeightFile, weight)
	if c.setWeight(name+"/"+bfqWeightFile, bfqWeight(weight)) == nil {
		return nil
	}
	return err
}

func (c *controllers) setWeight(file string, weight uint64) error {
	return writeFile(c.folder, file, strconv.FormatUint(weight, 10))
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
func (c *controllers) isReusable(l cgroupLimits) bool { return !l.watched || c.crowded.Load() }

// noteMade counts the dying cgroups now and then.
func (c *controllers) noteMade(l cgroupLimits) {
	if !l.watched || c.made.Add(1)%dyingInterval != 0 {
		return
	}
	stat, err := readFile(c.folder, "cgroup.stat")
	c.crowded.Store(err == nil && numberAfter(stat, "nr_dying_descendants ") > maxDyingCgroups)
}

// memoryUse is what the kernel has counted of a cgroup since it was made.
type memoryUse struct {
	oomKills uint64 // processes that the OOM killer has ended
	peak     int64  // bytes; 0: not known, before Linux 5.19
}

func (c *controllers) memoryUse(name string) (use memoryUse) {
	if events, err := readFile(c.folder, name+"/memory.events"); err == nil {
		use.oomKills = numberAfter(events, "oom_kill ")
	}
	if peak, err := readNumber(c.folder, name+"/memory.peak"); err == nil {
		use.peak = int64(peak)
	}
	return use
}

// isFull reports whether a new cgroup has reached its limit of memory, or all together nearly have.
func (c *controllers) isFull(name string) bool {
	if events, err := readFile(c.folder, name+"/memory.events"); err == nil &&
		numberAfter(events, "max ") > 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.totals.Memory == 0 {
		return false
	}
	const arguments = 4 << 20 // at most, with the environment
	now, err := readNumber(c.folder, "memory.current")
	return err == nil && now+arguments > c.totals.Memory
}

func readNumber(dir int, name string) (uint64, error) {
	text, err := readFile(dir, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
}

// numberAfter returns the number after a name that begins a line, 0 if there is none.
func numberAfter(text []byte, name string) uint64 {
	if !bytes.HasPrefix(text, []byte(name)) {
		_, rest, found := bytes.Cut(text, []byte("\n"+name))
		if !found {
			return 0
		}
		text = rest
	} else {
		text = text[len(name):]
	}
	number, _, _ := bytes.Cut(text, []byte("\n"))
	n, _ := strconv.ParseUint(string(number), 10, 64)
	return n
}

func (c *controllers) hasTotalProcesses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals.Processes > 0
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
