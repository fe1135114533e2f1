package privsep

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64

	archThreadFlags = 0

	openLargeFile = 0x20000
)

// archHostileCalls is empty: the calls that are only on amd64 have no number.
var archHostileCalls []uintptr
