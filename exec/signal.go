package exec

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFirstSignal bounds the time to signal a command's processes outside its group, which
	// callers of End wait for. Those that are not reached are killed after the grace period.
	maxFirstSignal = 250 * time.Millisecond
	// maxHandles bounds the descriptors that are open while many processes are signalled.
	maxHandles = 256
)

// signalEach signals the listed processes. No reused id is signalled: a handle fixes the process,
// and the list must contain it afterwards as well. With a limit it stops after that time. It
// returns the first error but that of a process that has ended.
func signalEach(list func() []int, limit time.Duration, signals ...syscall.Signal) (first error) {
	until := time.Now().Add(limit)
	for pids := range slices.Chunk(list(), maxHandles) {
		handles, err := openHandles(pids, list)
		if first == nil {
			first = err
		}
		for _, h := range handles {
			for _, sig := range signals {
				if err := h.signal(sig); err != nil && err != unix.ESRCH && first == nil {
					first = err
				}
			}
			h.close()
		}
		if limit > 0 && time.Now().After(until) {
			break
		}
	}
	return first
}

// openHandles returns handles of the processes that are still listed after they were opened, and
// the first error but that of a process that has ended.
func openHandles(pids []int, list func() []int) (handles []handle, first error) {
	for _, pid := range pids {
		h, err := openHandle(pid)
		if err == nil {
			handles = append(handles, h)
		} else if first == nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrNotExist) {
			first = err
		}
	}
	listed := make(map[int]bool)
	for _, pid := range list() {
		listed[pid] = true
	}
	handles = slices.DeleteFunc(handles, func(h handle) bool {
		if !listed[h.pid] {
			h.close()
		}
		return !listed[h.pid]
	})
	return handles, first
}

// handle identifies one process, also after its id was reused: by a pidfd, or before Linux 5.3 by
// its start time. There, its end and a reuse of its id between the comparison and the signal would
// be a mix-up; even then only processes are reached that commands can signal anyway.
type handle struct {
	pid, pidfd int // pidfd is -1 if there is none
	started    uint64
}

func openHandle(pid int) (handle, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		return handle{pid: pid, pidfd: pidfd}, nil
	}
	if err == unix.ESRCH {
		return handle{}, err
	}
	p, err := readProcess(pid)
	return handle{pid: pid, pidfd: -1, started: p.started}, err
}

func (h handle) signal(sig syscall.Signal) error {
	if h.pidfd >= 0 {
		return unix.PidfdSendSignal(h.pidfd, sig, nil, 0)
	}
	if p, err := readProcess(h.pid); err != nil || p.started != h.started {
		return unix.ESRCH
	}
	return syscall.Kill(h.pid, sig)
}

func (h handle) close() {
	if h.pidfd >= 0 {
		unix.Close(h.pidfd)
	}
}

// outsideGroup keeps those of the pids that a signal to the group does not reach.
func outsideGroup(group int, pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		current, err := syscall.Getpgid(pid)
		return err != nil || current == group
	})
}

// The C library keeps the kernel's first real-time signals for itself (signal(7)).
const (
	firstRealTime = 34
	lastSignal    = 64
)

// SignalName returns a signal's name as kill(1) takes it, such as SIGTERM or SIGRTMIN+6.
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	switch above := int(sig) - firstRealTime; {
	case above == 0:
		return "SIGRTMIN"
	case above > 0 && sig <= lastSignal:
		return "SIGRTMIN+" + strconv.Itoa(above)
	}
	return "SIG" + strconv.Itoa(int(sig))
}

// SignalNumber is the inverse of SignalName. It returns 0 if there is no such signal.
func SignalNumber(name string) syscall.Signal {
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if SignalName(sig) == name {
			return sig
		}
	}
	return 0
}
