package exec

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// atATime bounds the descriptors that signalling many processes takes.
	atATime = 64
	// rounds bounds how often we look again for what was forked meanwhile.
	rounds = 10
)

// kin finds a command's live processes where no cgroup holds them: its group,
// and those that have left it but whose parents lead back to the group. What
// has left the group and lost its parent as well, as daemons do, is not found.
type kin struct {
	group, session int
	census         *census
}

// list needs that the group is still the command's: its shell is not reaped, or
// a member lives.
func (k kin) list() []int {
	all := k.census.take()
	found := make(map[int]bool)
	for _, p := range all {
		if p.pid == k.group || p.group == k.group && p.session == k.session {
			found[p.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if found[p.parent] && !found[p.pid] {
				found[p.pid], grown = true, true
			}
		}
	}
	var pids []int
	for _, p := range all {
		if found[p.pid] && !p.dead {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// hold stops what left the group, until nothing new turns up: the parents must
// not end before their children are known.
func (k kin) hold() {
	known := 0
	for range rounds {
		left := k.escaped()
		if len(left) <= known {
			return
		}
		known = len(left)
		signalEach(k.escaped, syscall.SIGSTOP)
	}
}

func (k kin) escaped() []int { return outside(k.group, k.list()) }

// outside are those that a signal to the group does not reach.
func outside(group int, pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		at, err := syscall.Getpgid(pid)
		return err != nil || at == group
	})
}

// signalEach signals what is in the list. No id can be another's: the process
// is fixed by a descriptor, and is meant only if the list has it afterwards as
// well. Kernels without pidfds get no signals this way.
func signalEach(list func() []int, signals ...syscall.Signal) {
	for some := range slices.Chunk(list(), atATime) {
		signalSome(some, list, signals)
	}
}

func signalSome(pids []int, list func() []int, signals []syscall.Signal) {
	handles := make(map[int]int, len(pids))
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			handles[pid] = fd
			defer unix.Close(fd)
		}
	}
	for _, pid := range list() {
		fd, meant := handles[pid]
		for _, sig := range signals {
			if meant {
				_ = unix.PidfdSendSignal(fd, sig, nil, 0)
			}
		}
	}
}
