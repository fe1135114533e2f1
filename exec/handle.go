package exec

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// handle means one process, also after it has ended and its id is another's: by
// a descriptor, or on kernels without them (before Linux 5.3) by the time at
// which it started. There the look at that time and the signal are two steps:
// for a mix-up the process would have to end between them, and its id to be
// given away again at once. Even then the signal can reach only who is the same
// user, which is what commands can do to each other anyway.
type handle struct {
	pid, fd int // fd is -1 if there is none
	started uint64
}

func openHandle(pid int) (handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		return handle{pid: pid, fd: fd}, nil
	}
	if err == unix.ESRCH {
		return handle{}, err
	}
	p, err := readProcess(pid)
	return handle{pid: pid, fd: -1, started: p.started}, err
}

func (h handle) signal(sig syscall.Signal) error {
	if h.fd >= 0 {
		return unix.PidfdSendSignal(h.fd, sig, nil, 0)
	}
	if p, err := readProcess(h.pid); err != nil || p.started != h.started {
		return unix.ESRCH
	}
	return syscall.Kill(h.pid, sig)
}

func (h handle) close() {
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
}
