package privsep

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Drop makes every thread of this process run as u for good and proves it. A
// process that already is u keeps its ids and loses any capability it was
// given. After an error the process may be anything between root and u: the
// caller must end it.
func Drop(u User) error {
	steps := []func() error{
		u.acceptable,
		checkSecurebits,
		func() error { return setIDs(u) },
		clearCapabilities,
		SetNonDumpable,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return ProveDropped(u)
}

// checkSecurebits refuses the modes in which root's capabilities outlive its
// user id. They are asked of every thread.
func checkSecurebits() error {
	const noSetuidFixup, keepCaps = 1 << 2, 1 << 4
	bits, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot read securebits: %w%s", errno, cgoHint(errno))
	}
	if bits&(noSetuidFixup|keepCaps) != 0 {
		return fmt.Errorf("cannot drop root: securebits %#x keep capabilities: remove keep-caps and no-setuid-fixup from SecureBits= of the unit", bits)
	}
	return nil
}

// setIDs sets the groups first, as only root may set them.
func setIDs(u User) error {
	if eachThread(u.checkIDs) == nil {
		return nil
	}
	if err := syscall.Setgroups(u.Groups); err != nil {
		return fmt.Errorf("cannot take the groups of %q: %w: start as root, or as %q itself", u.Name, err, u.Name)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return fmt.Errorf("cannot become group %d: %w", u.GID, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("cannot become user %d: %w", u.UID, err)
	}
	return nil
}

// clearCapabilities empties what a change of user leaves: the inheritable set,
// and with it the ambient one, which is always a part of it.
func clearCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return fmt.Errorf("cannot clear capabilities: %w%s", errno, cgoHint(errno))
	}
	return nil
}

func cgoHint(errno syscall.Errno) string {
	if errno == syscall.ENOTSUP {
		return ": this binary uses cgo, build it with CGO_ENABLED=0"
	}
	return ""
}
