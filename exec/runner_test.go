package exec

import (
	osexec "os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func TestCommand_StandardInput(t *testing.T) {
	result := run(t, command("cat; readlink /proc/self/fd/0"))
	if got := text(&result.Stdout); got != "/dev/null\n" {
		t.Fatalf("got %q, want \"/dev/null\\n\"", got)
	}
}

func TestCommand_Descriptors(t *testing.T) {
	r := newTestRunner(t)
	// Others run meanwhile, whose descriptors must not get in.
	for range 20 {
		start(t, r, command("sleep 5"))
	}
	// The fourth is the one with which ls reads the folder.
	result := finish(t, start(t, r, command("ls /proc/self/fd")))
	if got := text(&result.Stdout); got != "0\n1\n2\n3\n" {
		t.Fatalf("got %q, want 0 to 3", got)
	}
}

func TestCommand_GroupLeader(t *testing.T) {
	p := start(t, newTestRunner(t), command("sleep 5"))
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Fatalf("group: got %d, %v; want %d", group, err, p.PID())
	}
}

func TestCommand_Signals(t *testing.T) {
	checkSignals(t, text(&run(t, command("cat /proc/self/status")).Stdout))
}

func TestRunner_InheritedSignals(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c",
		`trap '' HUP INT TSTP TTIN PIPE USR1; exec "$0" "$@"`,
		copyOfSelf(t, 0o755), "cat /proc/self/status", "/")
	c.Env, c.SysProcAttr = []string{helperVariable + "=run"}, ownGroup()
	var out strings.Builder
	c.Stdout = &out
	if err := startBlocked(c, unix.SIGTERM, unix.SIGUSR2, unix.SIGCHLD); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	checkSignals(t, out.String())
}

// startBlocked starts c with signals blocked.
func startBlocked(c *osexec.Cmd, signals ...syscall.Signal) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var blocked, before unix.Sigset_t
	for _, sig := range signals {
		blocked.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &blocked, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return c.Start()
}

func TestRunner_InheritedDescriptor(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c", `exec 7</dev/zero "$0" "$@"`,
		copyOfSelf(t, 0o755), "ls /proc/self/fd", "/")
	c.Env, c.SysProcAttr = []string{helperVariable + "=run"}, ownGroup()
	out, err := c.Output()
	if err != nil || string(out) != "0\n1\n2\n3\n" {
		t.Fatalf("got %q, %v; want 0 to 3", out, err)
	}
}

func TestRunner_InheritedUmaskAndLimits(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c", `ulimit -Sn 256; umask 027; exec "$0" "$@"`,
		copyOfSelf(t, 0o755), "ulimit -Sn; umask", "/")
	c.Env, c.SysProcAttr = []string{helperVariable + "=run"}, ownGroup()
	out, err := c.Output()
	if err != nil || string(out) != "256\n0027\n" {
		t.Fatalf("got %q, %v; want 256 and 0027", out, err)
	}
}

func TestCommand_Groups(t *testing.T) {
	testkit.NeedRoot(t)
	if got := asHelper(t, nobody, "run", "id -u; id -G", "/"); got != "65534\n65534" {
		t.Fatalf("got %q, want 65534 twice", got)
	}
}

func TestRunner_ClosedWhileRunning(t *testing.T) {
	r, err := NewRunner(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, r, command("sleep 0.2; echo done"))
	r.Close()
	if result := finish(t, p); text(&result.Stdout) != "done\n" {
		t.Errorf("got %q, want \"done\\n\"", text(&result.Stdout))
	}
	poller, err := r.poller.file.SyscallConn()
	if err == nil {
		testkit.Eventually(t, "the poller has ended", func() bool {
			return poller.Control(func(uintptr) {}) != nil
		})
	}
}
