package exec

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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

// findOpenFiles learns the inherited limit. Only the runtime knows it, and restores it when it is
// told to execute a program: here one that does not exist. It does so once in a process: a second
// call finds no difference.
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
