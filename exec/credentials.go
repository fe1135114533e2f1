package exec

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// credentials are what a newborn changes last before execve.
type credentials struct {
	change     bool // to the ids below
	uid, gid   int
	noNewPrivs bool
}

// set makes the newborn drop the daemon's ids, also the saved ones. That leaves the memory, which
// the daemon shares, as dumpable as fs.suid_dumpable says: it is reset at once.
func (c credentials) set(l *callList) {
	if c.noNewPrivs {
		l.add(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	if !c.change {
		return
	}
	gid, uid := uintptr(c.gid), uintptr(c.uid)
	l.add(unix.SYS_SETRESGID, gid, gid, gid)
	l.add(unix.SYS_SETRESUID, uid, uid, uid)
	l.add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
}

// proveNoReturn starts a child that changes its ids and tries to undo that by the call.
func (c credentials) proveNoReturn(s spawner, back uintptr, id int) error {
	l := new(callList)
	s.begin(l, -1)
	s.keepDescriptorsBelow(l, 3)
	c.set(l)
	l.add(unix.SYS_GETRESUID, address(&l.ids[0]), address(&l.ids[1]), address(&l.ids[2]))
	l.add(unix.SYS_GETRESGID, address(&l.ids[3]), address(&l.ids[4]), address(&l.ids[5]))
	try := len(l.calls)
	l.add(back, uintptr(id), uintptr(id), uintptr(id))
	l.add(unix.SYS_EXIT_GROUP, 0)
	_, err := s.runToEnd(l)
	u, g := uint32(c.uid), uint32(c.gid)
	switch {
	case err != nil:
		return err
	case l.progress.errno != 0 && l.progress.current != address(&l.calls[try]):
		return fmt.Errorf("a child cannot become user %d and group %d: %w", u, g, l.progress.errno)
	case l.ids != [6]uint32{u, u, u, g, g, g}:
		return fmt.Errorf("a child has the ids %v instead of user %d and group %d", l.ids, u, g)
	case l.progress.errno != unix.EPERM:
		return fmt.Errorf("a child may become %d again (errno %d)", id, l.progress.errno)
	}
	return nil
}
