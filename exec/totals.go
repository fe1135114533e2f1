package exec

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxFreed bounds the cached files that are freed at once, in bytes, as commands wait meanwhile.
const maxFreed = 1 << 30

// bound brings the totals into force. One of memory below what the commands use now, without cached
// files, has to wait until they use less.
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
	if c.wanted.Memory != c.totals.Memory && c.states[memoryController].enabled {
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
	c.permitSwap(most == 0)
	if most > 0 && !c.fits(most) {
		c.permitSwap(c.totals.Memory == 0)
		return nil
	}
	if err := writeFile(c.folder, "memory.max", orMax(most)); err != nil {
		return fmt.Errorf("cannot bound the memory of all commands together: %w", err)
	}
	c.totals.Memory = most
	c.totalMemory.Store(most > 0)
	return nil
}

// permitSwap needs mu. It does nothing where the kernel counts no swap.
func (c *controllers) permitSwap(yes bool) {
	most := "0"
	if yes {
		most = "max"
	}
	_ = writeFile(c.folder, "memory.swap.max", most)
}

// fits needs mu. It reports whether the commands use at most this much memory, and frees cached
// files for that. Swap must not be permitted meanwhile.
func (c *controllers) fits(most uint64) bool {
	now, kept, err := c.memoryUsed()
	if err != nil || now <= most || kept > most {
		return err == nil && now <= most
	}
	c.reclaim(max(most, now-min(now, maxFreed)))
	now, _, err = c.memoryUsed()
	return err == nil && now <= most
}

// memoryUsed is the memory of all commands, and what stays of it when cached files are freed that
// are on disk as well.
func (c *controllers) memoryUsed() (now, kept uint64, err error) {
	if now, err = readNumber(c.folder, "memory.current"); err != nil {
		return 0, 0, err
	}
	stat, err := readFile(c.folder, "memory.stat")
	kept = now - min(now, numberAfter(stat, "file "))
	for _, name := range []string{"shmem ", "file_dirty ", "file_writeback "} {
		kept += numberAfter(stat, name)
	}
	return now, kept, err
}

// reclaim frees memory that can be had again, until this much is used. Unlike a new memory.max,
// memory.high has nothing killed. It stays for a moment only, as it would slow the commands down.
func (c *controllers) reclaim(to uint64) {
	fd, err := unix.Openat(c.folder, "memory.high", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, high := range []string{strconv.FormatUint(to, 10), "max"} {
		_, _ = unix.Pwrite(fd, []byte(high), 0)
	}
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

func (c *controllers) hasTotalProcesses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals.Processes > 0
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
	_, kept, err := c.memoryUsed()
	return err == nil && kept+arguments > c.totals.Memory
}
