// Package nowait makes system calls that cannot wait, without telling Go's scheduler of them.
//
// Before each ordinary system call the runtime prepares for one that takes long. In a process that was
// idle a moment ago it wakes its monitor thread for that, from another processor if there is one, and the
// request waits for that.
//
// It must never be used on what can wait: a regular file, a descriptor that is not in nonblocking mode.
// Nothing else would run in its place for that time, and collecting garbage would wait for it as well.
package nowait

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads once from a nonblocking descriptor. It returns 0 at the end, and EAGAIN while there is nothing.
func Read(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_READ, fd, p)
}

// Write writes once to a nonblocking descriptor, perhaps less than all. It returns EAGAIN while there is no room.
func Write(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_WRITE, fd, p)
}

func transfer(call uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// Discard moves at most so many bytes from a pipe to /dev/null, inside the kernel. It returns 0 at the end,
// and EAGAIN while there is nothing.
func Discard(pipe, null, most int) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(pipe), 0, uintptr(null), 0, uintptr(most), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// Close closes a pipe, a pidfd or a descriptor of a folder.
func Close(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// Duplicate makes descriptor to another of what from is, closed on exec. What it was before is closed, and must
// be of the kinds that Close is for, or /dev/null.
func Duplicate(from, to int) error {
	_, _, errno := syscall.RawSyscall(unix.SYS_DUP3, uintptr(from), uintptr(to), unix.O_CLOEXEC)
	return asError(errno)
}

// SetBlocking takes a pipe's writing end, of a pair that was made nonblocking, out of that mode.
func SetBlocking(fd int) error {
	_, _, errno := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFL, unix.O_WRONLY)
	return asError(errno)
}

// Waiting is the number of bytes in a pipe.
func Waiting(fd int) (int, error) {
	var n int32
	_, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n), asError(errno)
}

// Poll returns how many of the descriptors in an epoll set are ready at this moment, at most len(events),
// which must not be zero.
func Poll(epoll int, events []unix.EpollEvent) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		return int(n), asError(errno)
	}
}

// HasExited says whether a child that has not been reaped has exited, and leaves it unreaped, so that its id
// remains its own. Also a child that is not there any more has.
func HasExited(pid int) bool {
	for {
		var info unix.Siginfo
		_, _, errno := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, 0, 0)
		if errno != unix.EINTR {
			return errno != 0 || info.Signo != 0
		}
	}
}

// Reap takes the exit status of a child that has exited. Of one that runs it takes nothing and returns false.
func Reap(pid int, status *syscall.WaitStatus, usage *syscall.Rusage) bool {
	for {
		got, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(status)), unix.WNOHANG, uintptr(unsafe.Pointer(usage)), 0, 0)
		if errno != unix.EINTR {
			return errno == 0 && int(got) == pid
		}
	}
}

func asError(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
