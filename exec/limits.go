package exec

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a command may use. 0 leaves what the daemon has inherited, and none can be
// higher than the daemon's own. Of two meanings the first takes a cgroup of the command with the
// controller; Result.LimitsBy says which one holds.
//
// Beyond Processes and OpenFiles system calls fail, beyond CPUTime the process gets SIGXCPU. Beyond
// Memory, the whole command is killed in a cgroup; else the system call fails.
type Limits struct {
	OpenFiles uint64        // descriptors of each process
	Processes uint64        // of the command; else of the user in total
	Memory    uint64        // bytes of the command; else address space of each process
	CPUTime   time.Duration // of each process; rounded up to full seconds
	MilliCPU  uint64        // thousandths of a processor, of the command; else no limit

	// Weights of the command among those that want processors or the same disk, from 1 to
	// MaxWeight; 0: DefaultWeight. Without a cgroup of its own they have no effect.
	CPUWeight, IOWeight uint64
}

// MinMemory is the least limit of memory, in bytes, and MinMilliCPU that of processors. With less
// memory no common shell starts, or it dies of a part of its work.
const (
	MinMemory   = 8 << 20
	MinMilliCPU = 10
)

// MaxWeight is the highest weight, and DefaultWeight that of a cgroup for which none is set.
const (
	MaxWeight     = 10_000
	DefaultWeight = 100
)

func (l Limits) validate() error {
	switch {
	case l.Memory > 0 && l.Memory < MinMemory:
		return requestFault(nil, "the limit of memory %d is less than a shell needs: "+
			"use at least %d, or 0 for none", l.Memory, MinMemory)
	case l.MilliCPU > 0 && l.MilliCPU < MinMilliCPU:
		return requestFault(nil, "the limit of processors %g is too low: use at least %g, "+
			"or 0 for none", float64(l.MilliCPU)/1000, float64(MinMilliCPU)/1000)
	case max(l.CPUWeight, l.IOWeight) > MaxWeight:
		return requestFault(nil, "the weight %d is too high: use 1 to %d, or 0 for the default",
			max(l.CPUWeight, l.IOWeight), MaxWeight)
	}
	if l.CPUTime < 0 {
		return requestFault(nil,
			"the limit of processor time %v is negative: use 0 for none", l.CPUTime)
	}
	return nil
}

// LimitsBy says what holds the limits of memory, processes and processors of a command, and its
// weights.
type LimitsBy string

const (
	// ByNone: the command has no such limit.
	ByNone LimitsBy = ""
	// ByCgroup: each of them holds for the command as a whole.
	ByCgroup LimitsBy = "cgroup"
	// ByProcess: at least one of them holds as setrlimit(2) has it, or, of processors and weights,
	// not at all.
	ByProcess LimitsBy = "process"
)

// byProcess says what holds the limits of a command that has no cgroup.
func (l Limits) byProcess() LimitsBy {
	if l.Memory|l.Processes|l.MilliCPU|l.CPUWeight|l.IOWeight == 0 {
		return ByNone
	}
	return ByProcess
}

const limitProcesses = 1 // the index of RLIMIT_NPROC in limitKinds

var limitKinds = [limitCount]int{
	unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC, unix.RLIMIT_CPU, unix.RLIMIT_AS,
}

// inOrder returns the limits in the order of limitKinds.
func (l Limits) inOrder() [limitCount]uint64 {
	seconds := uint64((l.CPUTime + time.Second - 1) / time.Second)
	return [limitCount]uint64{l.OpenFiles, l.Processes, seconds, l.Memory}
}

// openFiles is the soft limit of descriptors before and after Go's runtime raised it.
type openFiles struct{ inherited, raised uint64 }

// findOpenFiles learns the inherited limit. Only Go's runtime knows it, and restores it, once in a
// process, when it is told to execute a program: here one that does not exist.
func findOpenFiles() (f openFiles, err error) {
	var raised, inherited unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		return f, err
	}
	_ = syscall.Exec("", nil, nil)
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &inherited); err != nil {
		return f, err
	}
	f = openFiles{inherited: inherited.Cur, raised: raised.Cur}
	return f, unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
}

// replaceOpenFiles changes the soft limit of descriptors, if it is the old one.
func replaceOpenFiles(old, now uint64) error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	if err == nil && limit.Cur == old {
		limit.Cur = now
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	if err != nil {
		return fmt.Errorf("cannot set the limit of open files: %w", err)
	}
	return nil
}

// setLimits fills in the limits of a call list and appends their calls, except that of processes,
// which the caller adds later. The limit of descriptors is set in any case: the raised one is not
// meant for commands.
func (f openFiles) setLimits(l *callList, wanted Limits) error {
	for i, limit := range wanted.inOrder() {
		if limit == 0 && limitKinds[i] != unix.RLIMIT_NOFILE {
			continue
		}
		lowered, err := f.lower(limitKinds[i], limit)
		if err != nil {
			return err
		}
		l.limits[i] = lowered
		if i != limitProcesses {
			l.addLimit(i)
		}
	}
	return nil
}

// addLimit appends the call that sets l.limits[i], a limit of the kind limitKinds[i].
func (l *callList) addLimit(i int) {
	l.add(unix.SYS_PRLIMIT64, 0, uintptr(limitKinds[i]), address(&l.limits[i]))
}

// lower returns the limit to set, which is never above the present one. Processor time leaves a
// second between SIGXCPU and SIGKILL, so that the cause is seen.
func (f openFiles) lower(kind int, limit uint64) (now syscall.Rlimit, err error) {
	if err := syscall.Getrlimit(kind, &now); err != nil {
		return now, err
	}
	if limit == 0 {
		if kind == unix.RLIMIT_NOFILE && now.Cur == f.raised { // else it was changed since
			now.Cur = f.inherited
		}
		return now, nil
	}
	limit = min(limit, now.Max)
	now.Cur = limit
	if kind == unix.RLIMIT_CPU {
		limit = min(limit+1, now.Max)
	}
	now.Max = limit
	return now, nil
}
