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

// maxHeld bounds the handles kept of who left a group that is being ended.
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

// list needs that the shell is not reaped.
func (k kin) list() []int { return k.among(k.census.take()) }

// left is list afterwards. As long as a member lives, nobody gets the group's id
// as his own: who has it now shows that the group is not the command's any more.
func (k kin) left() []int { return k.leftAmong(k.census.take()) }

func (k kin) leftAmong(all []process) []int {
	if slices.ContainsFunc(all, func(p process) bool { return p.pid == k.group }) {
		return nil
	}
	return k.among(all)
}

func (k kin) among(all []process) []int {
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
		for _, h := range opened(some, k.escaped) {
			k.held.add(h)
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
// is fixed by a handle, and is meant only if the list has it afterwards as well.
func signalEach(list func() []int, signals ...syscall.Signal) {
	for some := range slices.Chunk(list(), atATime) {
		signalSome(some, list, signals)
	}
}

func signalSome(pids []int, list func() []int, signals []syscall.Signal) {
	for _, h := range opened(pids, list) {
		for _, sig := range signals {
			_ = h.signal(sig)
		}
		h.close()
	}
}

// opened has the handles of those that are still in the list afterwards.
func opened(pids []int, list func() []int) (handles []handle) {
	for _, pid := range pids {
		if h, err := openHandle(pid); err == nil {
			handles = append(handles, h)
		}
	}
	after := list()
	return slices.DeleteFunc(handles, func(h handle) bool {
		gone := !slices.Contains(after, h.pid)
		if gone {
			h.close()
		}
		return gone
	})
}

// held are processes by their ids.
type held struct {
	mu  sync.Mutex
	all map[int]handle
}

func (h *held) add(process handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[int]handle)
	}
	if _, double := h.all[process.pid]; double || len(h.all) >= maxHeld {
		process.close()
		return
	}
	h.all[process.pid] = process
}

// lives says whether pid is held and thus cannot be another's.
func (h *held) lives(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	process, ours := h.all[pid]
	return ours && process.signal(0) != unix.ESRCH
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, process := range h.all {
		process.close()
	}
	h.all = nil
}
