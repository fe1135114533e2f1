package exec

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file finds and signals the processes of a command that has no cgroup: on kernels before 5.7,
// in containers, and where the daemon was started by hand.

const (
	// maxPinned bounds the handles kept of processes that left the group of a command that is
	// ending.
	maxPinned = 128
	// maxScans bounds the repeated searches for processes that were forked meanwhile.
	maxScans = 10
	// minEmptyPoll and maxEmptyPoll bound the interval of the search for a last process. It starts
	// with the first and doubles.
	minEmptyPoll = 5 * time.Millisecond
	maxEmptyPoll = 200 * time.Millisecond
)

// descendants finds a command's live processes: its process group, and processes outside it whose
// parents lead back to the group. A process that left the group and lost its parent, as daemons do,
// is not found.
type descendants struct {
	group, session int
	table          *processTable
	pinned         *pinned // processes that have left the group of a command that is ending
}

// list needs an unreaped shell.
func (d descendants) list() []int { return d.among(d.table.snapshot()) }

// listAfterReap is list after the shell was reaped.
func (d descendants) listAfterReap() []int { return d.amongAfterReap(d.table.snapshot()) }

// amongAfterReap relies on the kernel, which reuses no id of a group that has a member: a process
// with that id shows that the group is another one.
func (d descendants) amongAfterReap(all []process) []int {
	if slices.ContainsFunc(all, func(p process) bool { return p.pid == d.group }) {
		return nil
	}
	return d.among(all)
}

func (d descendants) among(all []process) []int {
	found := make(map[int]bool)
	for _, p := range all {
		inGroup := p.pid == d.group || p.group == d.group && p.session == d.session
		if inGroup || d.pinned.isAlive(p.pid) {
			found[p.pid] = true
		}
	}
	addChildren(found, all, nil)
	var pids []int
	for _, p := range all {
		if found[p.pid] && !p.dead {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// addChildren adds the children of those found, and their children, except the processes with the
// ids except.
func addChildren(found map[int]bool, all []process, except []int) {
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if found[p.parent] && !found[p.pid] && !slices.Contains(except, p.pid) {
				found[p.pid], grown = true, true
			}
		}
	}
}

// escaped lists the processes outside the group.
func (d descendants) escaped() []int { return outsideGroup(d.group, d.list()) }

// pinEscaped keeps handles of the processes outside the group, to find them also when their parents
// have ended. It is called before the first signal.
func (d descendants) pinEscaped() {
	for pids := range slices.Chunk(d.escaped(), maxHandles) {
		handles, _ := openHandles(pids, d.escaped)
		for _, h := range handles {
			d.pinned.add(h)
		}
	}
}

// stopEscaped stops the processes outside the group until no new one is found, so that no parent
// ends before its children are known.
func (d descendants) stopEscaped() {
	known := 0
	for range maxScans {
		escaped := d.escaped()
		if len(escaped) <= known {
			return
		}
		known = len(escaped)
		_ = signalEach(d.escaped, 0, syscall.SIGSTOP)
	}
}

// awaitEmpty waits until no process is found, or the grace period is over. Processes that hold the
// output open are waited for first, which needs no search.
func (d descendants) awaitEmpty(pipesClosed, graceOver <-chan struct{}) {
	select {
	case <-pipesClosed:
	case <-graceOver:
	}
	for poll := minEmptyPoll; len(d.list()) > 0; poll = min(2*poll, maxEmptyPoll) {
		select {
		case <-graceOver:
			return
		case <-time.After(poll):
		}
	}
}

// daemonDescendants lists the live descendants of the daemon, except the processes with the ids
// except and their descendants.
func daemonDescendants(all []process, except []int) (pids []int) {
	own := os.Getpid()
	found := map[int]bool{own: true}
	addChildren(found, all, except)
	for _, p := range all {
		if found[p.pid] && p.pid != own && !p.dead {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// pinned is a set of processes, at most maxPinned.
type pinned struct {
	mu      sync.Mutex
	handles map[int]handle // by process id
}

func (s *pinned) add(h handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handles == nil {
		s.handles = make(map[int]handle)
	}
	if _, double := s.handles[h.pid]; double || len(s.handles) >= maxPinned {
		h.close()
		return
	}
	s.handles[h.pid] = h
}

// isAlive reports whether pid is in the set and has not ended: then it cannot have been reused.
func (s *pinned) isAlive(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, found := s.handles[pid]
	return found && h.signal(0) != unix.ESRCH
}

func (s *pinned) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.handles {
		h.close()
	}
	s.handles = nil
}

// processTable reads all processes of the host. Concurrent callers share one scan, which began
// after each of them asked: a thousand commands may end at once.
type processTable struct {
	scanning sync.Mutex

	mu   sync.Mutex
	next *processScan // the scan that has not begun, nil if there is none
}

type processScan struct {
	done      chan struct{}
	processes []process
}

func (t *processTable) snapshot() []process {
	t.mu.Lock()
	s := t.next
	if s == nil {
		s = &processScan{done: make(chan struct{})}
		t.next = s
		go t.scan(s)
	}
	t.mu.Unlock()
	<-s.done
	return s.processes
}

func (t *processTable) scan(s *processScan) {
	t.scanning.Lock()
	defer t.scanning.Unlock()
	t.mu.Lock()
	t.next = nil
	t.mu.Unlock()
	s.processes = readProcesses()
	close(s.done)
}
