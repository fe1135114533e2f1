package privsep

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64

	archThreadFlags = 0

	openLargeFile = 0x20000
)

// archHostileCalls is empty: arm64 has no such calls.
var archHostileCalls []uintptr
