package exec

import "fmt"

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
	now, err := readNumber(c.folder, "memory.current")
	return err == nil && now+arguments > c.totals.Memory
}
