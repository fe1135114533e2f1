package privsep

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64

	// On amd64 the Go runtime sets the thread-local storage through clone.
	archThreadFlags = unix.CLONE_SETTLS

	openLargeFile = 0x8000
)

var archHostileCalls = []uintptr{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MODIFY_LDT, unix.SYS_IOPL, unix.SYS_IOPERM,
}
