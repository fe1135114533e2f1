package exec

import (
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// atATime bounds the descriptors that signalling many processes takes.
	atATime = 64
	// rounds bounds how often we look again for what was forked meanwhile.
	rounds = 10
)

// maxHeld bounds the descriptors kept of who left a group that is being ended.
const maxHeld = 128

// kin finds a command's live processes where no cgroup holds them: its group,
// and those that have left it but whose parents lead back to the group. What
// has left the group and lost its parent as well, as daemons do, is not found.
type kin struct {
	group, session int
	census         *census

	// held are those that left the group, from the moment on when the command
	// is being ended: their parents may end before them.
	held *held
}

// list needs that the group is still the command's: its shell is not reaped, or
// a member lives.
func (k kin) list() []int {
	all := k.census.take()
	found := make(map[int]bool)
	for _, p := range all {
		if p.pid == k.group || k.held.lives(p.pid) || p.group == k.group && p.session == k.session {
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

// keepHold is called before the first signal that may end a parent.
func (k kin) keepHold() {
	for some := range slices.Chunk(k.escaped(), atATime) {
		for pid, fd := range opened(some, k.escaped) {
			k.held.add(pid, fd)
		}
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
	for _, fd := range opened(pids, list) {
		for _, sig := range signals {
			_ = unix.PidfdSendSignal(fd, sig, nil, 0)
		}
		unix.Close(fd)
	}
}

// opened has the descriptors of those that are still in the list afterwards.
func opened(pids []int, list func() []int) map[int]int {
	handles := make(map[int]int, len(pids))
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			handles[pid] = fd
		}
	}
	after := list()
	for pid, fd := range handles {
		if !slices.Contains(after, pid) {
			unix.Close(fd)
			delete(handles, pid)
		}
	}
	return handles
}

// held are descriptors of processes, by their ids.
type held struct {
	mu  sync.Mutex
	fds map[int]int
}

func (h *held) add(pid, fd int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fds == nil {
		h.fds = make(map[int]int)
	}
	if _, double := h.fds[pid]; double || len(h.fds) >= maxHeld {
		unix.Close(fd)
		return
	}
	h.fds[pid] = fd
}

// lives says whether pid is held and thus cannot be another's.
func (h *held) lives(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	fd, ours := h.fds[pid]
	return ours && unix.PidfdSendSignal(fd, 0, nil, 0) != unix.ESRCH
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, fd := range h.fds {
		unix.Close(fd)
	}
	h.fds = nil
}
