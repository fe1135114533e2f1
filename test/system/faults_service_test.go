package system

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// service runs a daemon as systemd does: the listening socket stays open, and remaining processes
// are ended before the next start.
type service struct {
	*daemon
	m      *model
	socket *os.File
	inode  string // of the socket, as in links of /proc
}

func newService(t *testing.T, m *model, lines ...string) *service {
	t.Helper()
	testkit.NeedRoot(t)
	d := newDaemon(t, strconv.Quote(testKey))
	d.configure(strconv.Quote(testKey), append(lines, fmt.Sprintf("BIND = %q", d.address))...)
	file, _ := listeningFile(t, "tcp", d.address)
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	s := &service{daemon: d, m: m, socket: file, inode: fmt.Sprintf("socket:[%d]", stat.Ino)}
	t.Cleanup(s.endRest) // commands first, before a daemon that still runs is stopped
	return s
}

// receiver starts a receiver at the daemon's loopback address.
func (s *service) receiver(port int) *faultyReceiver {
	host, _, _ := strings.Cut(s.address, ":")
	return newFaultyReceiver(s.m, fmt.Sprintf("%s:%d", host, port), s.key)
}

// begin starts the daemon and returns once it is ready.
func (s *service) begin() {
	s.t.Helper()
	s.takeLog()
	s.launchWithSockets([]*os.File{s.socket})
	s.awaitLog("Ready: ")
}

// takeLog checks the log so far and discards it, so that a long run stays fast.
func (s *service) takeLog() {
	s.t.Helper()
	log := s.log()
	for _, bad := range []string{s.key, "Callback lost", "given up", "panic: ", "fatal error: ", "goroutine "} {
		if strings.Contains(log, bad) {
			s.t.Errorf("the log holds %q:\n%.20000s", bad, log)
		}
	}
	if err := os.Truncate(s.logPath, 0); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
}

// kill ends the executor by SIGKILL, and then, as systemd does, all remaining processes.
func (s *service) kill() {
	s.t.Helper()
	ends := s.m.begins(&s.m.kills)
	s.signal(s.pid, syscall.SIGKILL)
	<-s.ended
	ends()
	s.endRest()
}

// begins records that a fault begins, and then that it ends.
func (m *model) begins(faults *[]*span) (ends func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &span{from: time.Now()}
	*faults = append(*faults, f)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		f.to = time.Now()
	}
}

// killRole ends the network role, if it runs at this moment.
func (s *service) killRole() {
	for _, child := range children(s.t, s.pid) {
		pid, _, _ := strings.Cut(child, " ")
		if line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline")); bytes.Contains(line, []byte("\x00network\x00")) {
			id, _ := strconv.Atoi(pid)
			_ = syscall.Kill(id, syscall.SIGKILL) // it may have ended by itself
		}
	}
}

// stopInOrder ends the daemon by SIGTERM. A remaining process is a leak.
func (s *service) stopInOrder() {
	s.t.Helper()
	ends := s.m.begins(&s.m.stops)
	s.stop()
	ends()
	if !s.state.Success() {
		s.t.Errorf("the daemon ended with %v\n%s", s.state, s.log())
	}
	var left []int
	for range 100 {
		if left = s.rest(); len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.m.mu.Lock()
	s.m.sum.leaks += len(left)
	s.m.mu.Unlock()
	s.t.Errorf("after a stop in order there are still %s", describe(left))
	s.endRest()
}

// endRest ends all processes of the daemon, one after the other, until none is left.
func (s *service) endRest() {
	for range 1000 {
		left := s.rest()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.t.Errorf("cannot end %s", describe(s.rest()))
}

// rest lists the processes of commands, in any process group, and those of an ended daemon.
func (s *service) rest() []int {
	paths, _ := filepath.Glob("/proc/[0-9]*")
	mark := []byte("SIDECAR_FAULTS=" + s.m.dir + "\x00")
	var pids []int
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(path))
		line, err := os.ReadFile(path + "/cmdline")
		if err != nil || len(line) == 0 || pid == os.Getpid() {
			continue // it has ended, or is a zombie
		}
		environment, _ := os.ReadFile(path + "/environ")
		if bytes.Contains(environment, mark) || !s.running() && (bytes.Contains(line, []byte(s.config+"\x00")) || s.holdsSocket(path, line)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *service) holdsSocket(path string, line []byte) bool {
	if !bytes.Contains(line, []byte("\x00network\x00")) {
		return false
	}
	links, _ := filepath.Glob(path + "/fd/*")
	for _, link := range links {
		if target, _ := os.Readlink(link); target == s.inode {
			return true
		}
	}
	return false
}

func describe(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		state, _ := statusOf(pid, "State")
		fmt.Fprintf(&b, "\n%d %s %.200s", pid, state, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
	return b.String()
}
