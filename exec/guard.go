package exec

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A newborn shares the daemon's memory until its execve, and what the execve needs counts for its
// cgroup. If that has no memory left, the OOM killer would choose the newborn and every process
// that shares its memory: the daemon. It spares a process in a vfork. So in a cgroup with a limit
// of memory a newborn is made by vfork: by a guard, as the daemon's thread would hang until the
// execve.
//
//	daemon ── clone ─→ guard (in the daemon's cgroup) ── vfork, CLONE_PARENT ─→ newborn
//
// The newborn is the daemon's child, as without a guard. The guard ends when the newborn has
// executed its program or died. The second clone3 in the list of calls divides the two: spawn ends
// the one to which it returned a process id.

// addGuard puts a guard before the process that begin has listed.
func (l *callList) addGuard() {
	l.guarding = 1
	l.guard = cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_CHILD_CLEARTID | unix.CLONE_FILES |
			unix.CLONE_CLEAR_SIGHAND,
		childTID: uint64(address(&l.guarding)), exitSignal: uint64(unix.SIGCHLD),
	}
	l.clone.flags |= unix.CLONE_VFORK | unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID
	l.clone.exitSignal = 0 // that of the guard
	l.clone.parentTID = uint64(address(&l.born))
	clone, blockSignals, leadGroup := l.calls[0], l.calls[1], l.calls[2]
	l.calls = l.calls[:0]
	l.add(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&l.guard)), unsafe.Sizeof(l.guard))
	l.calls = append(l.calls, blockSignals, clone, leadGroup)
}
