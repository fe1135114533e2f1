package exec

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a command may take. 0 leaves what the daemon has inherited.
// None can be set higher than the daemon's own. A command that breaks a limit
// sees its system call fail, and of CPUTime it sees SIGXCPU.
type Limits struct {
	OpenFiles uint64        // descriptors of each process
	Processes uint64        // of the user in total, not only of this command
	Memory    uint64        // address space of each process, in bytes
	CPUTime   time.Duration // of each process; full seconds, rounded up
}

func (l Limits) validate() error {
	if l.CPUTime < 0 {
		return requestFault("the limit of processor time %v is negative: use 0 for none", l.CPUTime)
	}
	return nil
}

const kinds = 4

// limitKinds are in the order in which the child sets them.
var limitKinds = [kinds]int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC, unix.RLIMIT_CPU, unix.RLIMIT_AS}

func (l Limits) inOrder() [kinds]uint64 {
	seconds := uint64((l.CPUTime + time.Second - 1) / time.Second)
	return [kinds]uint64{l.OpenFiles, l.Processes, seconds, l.Memory}
}

// files is the limit of descriptors: Go has raised its soft part for us.
type files struct{ raised, inherited uint64 }

// findFiles learns what the limit was before. Only Go knows, and sets it again
// when it is told to execute something; here there is nothing to execute.
//
// The first to ask in a process is told, to all others it seems never to have
// been raised.
func findFiles() (f files, err error) {
	var raised, inherited unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		return f, err
	}
	_ = syscall.Exec("", nil, nil)
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &inherited); err != nil {
		return f, err
	}
	return files{raised.Cur, inherited.Cur}, unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
}

// lowered is the limit to set, which is never above the present one. Processor
// time keeps a second between SIGXCPU and SIGKILL, so that the cause is told.
func (f files) lowered(kind int, limit uint64) (now syscall.Rlimit, err error) {
	if err := syscall.Getrlimit(kind, &now); err != nil {
		return now, err
	}
	if limit == 0 {
		if kind == unix.RLIMIT_NOFILE && now.Cur == f.raised { // and not what somebody else has set meanwhile
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
