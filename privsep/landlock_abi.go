package privsep

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rulesetAttr and pathBeneathAttr are the kernel's structures, declared here
// because golang.org/x/sys has renamed the fields of its own between versions.
type rulesetAttr struct {
	handledFS, handledNet, scoped uint64
}

// pathBeneathAttr is packed in the kernel: 12 bytes, of which Go's padding at
// the end is no part.
type pathBeneathAttr struct {
	allowed uint64
	parent  int32
}

// landlockABI asks for the version. Each way to have none is an error: a kernel
// that is too old, one started without it, a container that forbids the call.
func landlockABI() (int, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	return int(abi), nil
}

// handledBy returns what a kernel of that version can restrict, limited to what
// is known here. The role neither binds nor listens, so binding a TCP port is
// handled and no rule allows one; connecting is its work and stays free.
func handledBy(abi int) rulesetAttr {
	attr := rulesetAttr{handledFS: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1}
	if abi >= 2 {
		attr.handledFS |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.handledFS |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.handledNet |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	if abi >= 5 {
		attr.handledFS |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// sizeFor leaves out the fields that an older kernel does not know: it would
// take them if they are zero, but then there is no reason to send them.
func (rulesetAttr) sizeFor(abi int) uintptr {
	switch {
	case abi >= 6:
		return unsafe.Sizeof(rulesetAttr{})
	case abi >= 4:
		return unsafe.Offsetof(rulesetAttr{}.scoped)
	}
	return unsafe.Offsetof(rulesetAttr{}.handledNet)
}

func createRuleset(abi int) (int, error) {
	attr := handledBy(abi)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), attr.sizeFor(abi), 0)
	if errno != 0 {
		return -1, fmt.Errorf("cannot create a Landlock ruleset: %w", errno)
	}
	return int(fd), nil
}

func addPathRule(ruleset, parent int, rights uint64) error {
	attr := pathBeneathAttr{rights, int32(parent)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot add a Landlock rule: %w", errno)
	}
	return nil
}

// restrictSelf binds the calling thread alone, so it is called on a locked one.
func restrictSelf(ruleset int) error {
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot enter the Landlock domain: %w", errno)
	}
	return nil
}
