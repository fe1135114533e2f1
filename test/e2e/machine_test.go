package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

var machineCount atomic.Int32

// machine is one booted Debian.
type machine struct {
	t      *testing.T
	number int // counts the machines of this process from 1
	name   string
	outer  int // PID of the process whose end ends the machine
}

// boot starts a machine that lives until the end of the test. From here on the test runs in
// parallel with others: machines mostly wait, and -parallel bounds their number.
func boot(t *testing.T) *machine {
	t.Helper()
	return bootAll(t, 1)[0]
}

// bootAll is boot for several machines at once.
func bootAll(t *testing.T, count int) (machines []*machine) {
	t.Helper()
	needMachines(t)
	t.Parallel()
	for range count {
		machines = append(machines, powerOn(t))
	}
	for _, m := range machines {
		m.waitUntilUp()
	}
	return machines
}

// powerOn starts a machine and does not wait for it.
func powerOn(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, number: int(machineCount.Add(1))}
	m.name = fmt.Sprintf("dffs-e2e-%d-%d", os.Getpid(), m.number)
	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	stop, err := m.start(console)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.tellFailure(console.Name())
		stop()
		_ = console.Close()
		removeCgroups(m.name)
	})
	return m
}

// start runs machine.sh in its own PID and mount namespace. The kernel kills it when this process
// dies: the parent-death signal follows the creating thread, which is therefore kept.
func (m *machine) start(console *os.File) (stop func(), err error) {
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork",
		"--kill-child=SIGKILL", "--mount-proc", "sh", "machine.sh", m.name, treePath(), layout())
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start the machine: %w", err)
	}
	m.outer = cmd.Process.Pid
	return func() { _ = cmd.Process.Kill(); <-ended }, nil
}

// leader returns the PID of the machine's PID 1 on this host. It changes with a reboot.
func (m *machine) leader() (int, error) {
	pid := m.outer
	for _, of := range []string{"unshare", "machine.sh", "systemd-nspawn"} {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(children), " ")
		if pid, err = strconv.Atoi(first); err != nil {
			return 0, errors.New("no child yet of " + of)
		}
	}
	return pid, nil
}

func (m *machine) waitUntilUp() {
	m.t.Helper()
	m.eventually("the machine has booted", func() bool {
		state, _ := m.try("systemctl", "is-system-running", "--wait")
		return state == "running"
	})
}

// reboot asks systemd by signal, and enters the machine again only after it has gone down: the
// shutdown stops all processes inside, and an nsenter among them for good.
func (m *machine) reboot() {
	m.t.Helper()
	const startRebootTarget = syscall.Signal(34 + 5) // SIGRTMIN+5
	before, err := m.leader()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Kill(before, startRebootTarget); err != nil {
		m.t.Fatal(err)
	}
	m.eventually("the machine has gone down and starts again", func() bool {
		now, err := m.leader()
		return err == nil && now != before
	})
	m.waitUntilUp()
}

// command returns a process inside the machine, as root.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	leader, err := m.leader()
	if err != nil {
		leader = -1 // nsenter reports the error
	}
	args = append([]string{"--target", strconv.Itoa(leader), "--all", "--"}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	return cmd
}

// try runs a command and returns its output, both streams, and its exit status.
func (m *machine) try(args ...string) (output string, status int) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	cmd := m.command(ctx, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return strings.TrimRight(string(out), "\n"), cmd.ProcessState.ExitCode()
}

// run is try for a command that must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, status := m.try(args...)
	if status != 0 {
		m.t.Fatalf("%s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// sh runs a script that must succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	return m.run("sh", "-euc", script)
}

// path returns the path of a machine's file on this host.
func (m *machine) path(name string) string {
	m.t.Helper()
	leader, err := m.leader()
	if err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("/proc/%d/root%s", leader, name)
}

// eventually polls until the condition holds.
func (m *machine) eventually(what string, holds func() bool) {
	m.t.Helper()
	testkit.Eventually(m.t, what, holds)
}

// tellFailure adds the journal and the state of the machine to a failed test.
func (m *machine) tellFailure(console string) {
	if !m.t.Failed() {
		return
	}
	journal, _ := m.try("journalctl", "--no-pager", "--lines=60", "-o", "short-precise", "-u", service, "-u", socket)
	m.t.Logf("journal of the units:\n%s", journal)
	state, _ := m.try("sh", "-c", "systemctl is-system-running; systemctl list-jobs; systemctl --failed; ps axo pid,ppid,user,stat,args")
	m.t.Logf("state:\n%s", state)
	if text, err := os.ReadFile(console); err == nil && len(text) > 0 {
		m.t.Logf("console:\n%s", text)
	}
}
