package privsep

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoSeccomp means that this kernel, or the container around this process,
// has no seccomp filters. The network role is not started without.
var ErrNoSeccomp = errors.New("seccomp filters are not available")

// InstallSeccomp is stage two of the sandbox: it leaves every thread with the
// system calls of networkRules and proves it. It repeats what executing the
// program undid and what a caller may have left out of stage one.
func InstallSeccomp() error {
	for _, step := range []func() error{SetNonDumpable, refuseCoreDumps, SetNoNewPrivs} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := startPoller(); err != nil {
		return err
	}
	program, err := compile(auditArch, networkRules(os.Getpid()), errnoAction(unix.EPERM))
	if err != nil {
		return err
	}
	if err := loadFilter(program); err != nil {
		return err
	}
	return proveSeccomp()
}

// startPoller makes the runtime create its epoll descriptors now, as nothing
// afterwards may create more.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot start the runtime's poller: %w", err)
	}
	return errors.Join(r.Close(), w.Close())
}

// loadFilter puts the filter on all threads at once. A thread that cannot be
// reached is told by its id as the result, with no error number beside it.
func loadFilter(program []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return fmt.Errorf("cannot confine the network role: %w (%w): "+
			"use a kernel with CONFIG_SECCOMP_FILTER, and let the container permit the call `seccomp`", ErrNoSeccomp, errno)
	case errno != 0:
		return fmt.Errorf("cannot confine the network role: seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("cannot confine the network role: thread %d has a seccomp filter of its own", thread)
	}
	return nil
}

// proveSeccomp asks every thread for its mode. The files of /proc that show it
// to others are out of reach by now.
func proveSeccomp() error {
	mode, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0)
	if errno != 0 || mode != unix.SECCOMP_MODE_FILTER {
		return fmt.Errorf("cannot prove that the network role is confined: seccomp mode %d, errno %d%s", mode, errno, cgoHint(errno))
	}
	return nil
}
