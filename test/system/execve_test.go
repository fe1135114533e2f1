package system

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// heldProgram judges each execve of a program file, as software against malware does.
type heldProgram struct {
	t  *testing.T
	fd int
}

func holdProgram(t *testing.T, path string) heldProgram {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) }) // permits what is still held
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path); err != nil {
		t.Fatal(err)
	}
	return heldProgram{t, fd}
}

// next waits for an execve and returns the process id, and a function that permits it.
func (h heldProgram) next() (pid int, permit func()) {
	poll := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	for until := time.Now().Add(testkit.Patience); ; {
		n, err := unix.Poll(poll, 100)
		if err == nil && n > 0 {
			break
		}
		if time.Now().After(until) {
			h.t.Error("there is no execve of the program")
			return 0, func() {}
		}
	}
	event := make([]byte, 24) // one struct fanotify_event_metadata
	if n, err := unix.Read(h.fd, event); n != len(event) {
		h.t.Errorf("got %d bytes of an event: %v", n, err)
		return 0, func() {}
	}
	file := binary.NativeEndian.Uint32(event[16:])
	return int(binary.NativeEndian.Uint32(event[20:])), func() {
		answer := binary.NativeEndian.AppendUint32(nil, file)
		answer = binary.NativeEndian.AppendUint32(answer, unix.FAN_ALLOW)
		_, _ = unix.Write(h.fd, answer)
		unix.Close(int(file))
	}
}

// The execve of a new network role may hang: on a file system that does not answer, or in software
// that examines programs. The former role and the commands go on.
func TestReload_NetworkRoleThatHangsInExecve(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t)
	end := filepath.Join(sharedDir(t), "end")
	long := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + end + "; do sleep 0.01; done; echo went on"})).raw())
	d.awaitLog("Command started")
	former := d.networkPID()
	second := twoPrograms(t)[1]
	held := holdProgram(t, second)
	reloaded := d.reloadInBackground(second)
	// The command reload, the rehearsal, the daemon itself, and then the role.
	for pid := 0; pid != d.pid && !t.Failed(); {
		var permit func()
		pid, permit = held.next()
		permit()
	}
	hanging, permit := held.next()
	d.wantChild(hanging)
	requests := 0
	for ; !t.Failed() && !strings.Contains(d.log(), "Cannot replace the network role"); requests++ {
		if a := d.run("echo on"); a.Data.Stdout != "on\n" {
			t.Errorf("got %d %s while the role hangs", a.status, a.body)
		}
	}
	t.Logf("%d requests were answered", requests)
	d.awaitLog("the former one goes on: cannot start the network role: the program does not start within 5s")
	if got := <-reloaded; got.status != 0 || !strings.Contains(got.output, "the former network role goes on") {
		t.Errorf("reload: got %+v, want success, with the former role", got)
	}
	permit()
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if a := long.answer("POST"); a.Data == nil || a.Data.Stdout != "went on\n" {
		t.Errorf("the running command: got %d %s", a.status, a.body)
	}
	if now := d.networkPID(); now != former {
		t.Errorf("the network role is %d, want the former one, %d", now, former)
	}
}

// The rehearsal of a program may hang in the same way: then the reload is refused.
func TestReload_RehearsalThatHangsInExecve(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t)
	second := twoPrograms(t)[1]
	held := holdProgram(t, second)
	reloaded := d.reloadInBackground(second)
	_, permit := held.next() // the command reload
	permit()
	hanging, permit := held.next()
	d.wantChild(hanging)
	if got := <-reloaded; got.status != 1 || !strings.Contains(got.output, "the program does not start within 5s") {
		t.Errorf("reload: got %+v, want a refusal", got)
	}
	permit()
	if a := d.run("echo on"); a.Data.Stdout != "on\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

type reloadOutcome struct {
	output string
	status int
}

func (d *daemon) reloadInBackground(program string) <-chan reloadOutcome {
	reloaded := make(chan reloadOutcome, 1)
	go func() {
		output, status := d.reloadAs(program)
		reloaded <- reloadOutcome{output, status}
	}()
	return reloaded
}

func (d *daemon) wantChild(pid int) {
	d.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", d.pid)) {
		d.t.Fatalf("got %v %s, want a child of the daemon %d", err, status, d.pid)
	}
}
