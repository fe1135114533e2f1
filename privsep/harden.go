package privsep

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// SetNoNewPrivs makes no_new_privs hold on every thread: no program that is executed from then on
// gains privileges from its file.
func SetNoNewPrivs() error {
	if _, err := prctlAllThreads(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("cannot set no_new_privs: %w", err)
	}
	held, err := prctlAllThreads(unix.PR_GET_NO_NEW_PRIVS, 0)
	if err != nil || held != 1 {
		return fmt.Errorf("cannot prove no_new_privs: got %d, error %v", held, err)
	}
	return nil
}

// prctlAllThreads returns the result of all threads: the Go runtime ends the program if two differ.
func prctlAllThreads(option, value uintptr) (uintptr, error) {
	r, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, option, value, 0, 0, 0, 0)
	if errno != 0 {
		return r, fmt.Errorf("%w%s", errno, cgoHint(errno))
	}
	return r, nil
}

func cgoHint(errno syscall.Errno) string {
	if errno == syscall.ENOTSUP {
		return "; hint: this binary uses cgo, build it with CGO_ENABLED=0"
	}
	return ""
}

// SetNonDumpable closes /proc/PID/mem, environ, maps and fd, ptrace, and core dumps to other
// processes of the same user. Executing a program undoes it.
func SetNonDumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot make the process non-dumpable: %w", err)
	}
	held, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || held != 0 {
		return fmt.Errorf("cannot prove that the process is non-dumpable: got %d, error %v",
			held, err)
	}
	return nil
}

// refuseCoreDumps also holds if a later change of ids makes the process dumpable again.
func refuseCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	return nil
}

// MarkCloseOnExec marks every descriptor from the given one on, so that none that was left open by
// mistake reaches a program that is executed later.
func MarkCloseOnExec(from uint) error {
	if unix.CloseRange(from, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	return markEachCloseOnExec(from)
}

// markEachCloseOnExec is for kernels before Linux 5.11, and containers whose filter does not know
// close_range.
func markEachCloseOnExec(from uint) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot list open descriptors (is /proc mounted?): %w", err)
	}
	for _, entry := range entries {
		fd, err := strconv.ParseUint(entry.Name(), 10, 31)
		if err != nil {
			return fmt.Errorf("cannot read /proc/self/fd: %w", err)
		}
		if uint(fd) < from {
			continue
		}
		// EBADF: the descriptor that listed the directory is closed by now.
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		if err != nil && !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("cannot mark descriptor %d: %w", fd, err)
		}
	}
	return nil
}
