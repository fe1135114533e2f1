package main

import "golang.org/x/sys/unix"

// Calls that only amd64 has: its older spellings, and those of the x32 ABI.
func init() {
	const x32 = 0x40000000
	attacks["x32"] = func() error { return sys(x32 | unix.SYS_GETPID) }
	attacks["old-open"] = func() error { return sys(unix.SYS_OPEN, text("/etc/hosts"), unix.O_RDONLY) }
	attacks["old-creat"] = func() error { return sys(unix.SYS_CREAT, text(inside("created")), 0o600) }
}
