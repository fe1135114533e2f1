package system

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// status reads one line of /proc/PID/status.
func statusOf(pid int, name string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(text), "\n"+name+":")
	if !found {
		return "", fmt.Errorf("no %s in the status of %d", name, pid)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line), nil
}

func number(t testing.TB, pid int, name string) int {
	t.Helper()
	text, err := statusOf(pid, name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// peakMB returns the peak resident size of a process.
func peakMB(t testing.TB, pid int) int { return number(t, pid, "VmHWM") >> 10 }

// wantPeaks checks the peak memory of both roles.
func (d *daemon) wantPeaks(executorMB, networkMB int) {
	d.t.Helper()
	executor, network := peakMB(d.t, d.pid), peakMB(d.t, d.networkPID())
	d.t.Logf("peaks: executor %d MB, network role %d MB", executor, network)
	if executor > executorMB || network > networkMB {
		d.t.Errorf("executor %d MB of %d, network role %d MB of %d", executor, executorMB, network, networkMB)
	}
}

// networkPID returns the process id of the latest network role.
func (d *daemon) networkPID() int {
	d.t.Helper()
	all := regexp.MustCompile(`The network role serves .*? \(pid (\d+)\)`).FindAllStringSubmatch(d.log(), -1)
	if len(all) == 0 {
		d.t.Fatalf("the log names no network role:\n%s", d.log())
	}
	pid, _ := strconv.Atoi(all[len(all)-1][1])
	return pid
}

// openFiles counts the descriptors of a process. It needs root.
func openFiles(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// children returns the child processes of pid, with their states.
func children(t testing.TB, pid int) []string {
	t.Helper()
	return processes(t, func(state string, parent, _ int) bool { return parent == pid })
}

// groupMembers lists the processes of a process group, except for zombies, which another process
// must reap.
func groupMembers(t testing.TB, group int) []string {
	t.Helper()
	return processes(t, func(state string, _, itsGroup int) bool { return itsGroup == group && state != "Z" })
}

func processes(t testing.TB, wanted func(state string, parent, group int) bool) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		afterName := strings.LastIndex(string(text), ") ")
		if err != nil || afterName < 0 {
			continue // it has ended meanwhile
		}
		var state string
		var parent, group int
		if _, err := fmt.Sscan(string(text[afterName+2:]), &state, &parent, &group); err == nil && wanted(state, parent, group) {
			found = append(found, strings.Split(path, "/")[2]+" "+state)
		}
	}
	return found
}

// alive reports whether a process exists and is not a zombie.
func alive(pid string) bool {
	id, err := strconv.Atoi(strings.TrimSpace(pid))
	if err != nil {
		return false
	}
	state, err := statusOf(id, "State")
	return err == nil && !strings.HasPrefix(state, "Z")
}

// sharedDir returns a directory that the user of commands may enter and write.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sidecar-shared-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func lines(t testing.TB, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// idle bounds an end that is due at once, on a busy machine.
const idle = 20 * time.Second

// commandGroups lists the shells of the commands: the executor's children without the network role.
func (d *daemon) commandGroups() []int {
	d.t.Helper()
	var pids []int
	for _, child := range children(d.t, d.pid) {
		text, _, _ := strings.Cut(child, " ")
		if pid, err := strconv.Atoi(text); err == nil && pid != d.networkPID() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killGroup ends a command, whose process group has the id of its shell.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }
