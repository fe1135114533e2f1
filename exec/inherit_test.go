package exec

import (
	"os"
	osexec "os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// descriptors lists our own open descriptors.
func descriptors(t *testing.T) []string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStandardInputIsEmpty(t *testing.T) {
	result := run(t, command("cat; readlink /proc/self/fd/0"))
	if got := text(&result.Stdout); got != "/dev/null\n" {
		t.Fatalf("got %q", got)
	}
}

func TestCommandHoldsThreeDescriptors(t *testing.T) {
	r := newTestRunner(t)
	// Others run meanwhile, whose descriptors must not get in.
	for range 20 {
		start(t, r, command("sleep 5"))
	}
	// The fourth is the one with which ls reads the folder.
	result := finish(t, start(t, r, command("ls /proc/self/fd")))
	if got := text(&result.Stdout); got != "0\n1\n2\n3\n" {
		t.Fatalf("got %q", got)
	}
}

func TestCommandIsTheLeaderOfItsOwnGroup(t *testing.T) {
	p := start(t, newTestRunner(t), command("sleep 5"))
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Fatalf("process %d is in group %d, %v", p.PID(), group, err)
	}
}

func TestSignalsAreAsAfterLogin(t *testing.T) {
	checkSignals(t, text(&run(t, command("cat /proc/self/status")).Stdout))
}

func TestSignalsAreAsAfterLoginHoweverTheDaemonWasStarted(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c",
		`trap '' HUP INT TSTP TTIN PIPE USR1; exec "$0" "$@"`,
		copyOfSelf(t, 0o755), "cat /proc/self/status", "/")
	c.Env = []string{helperVariable + "=run"}
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

func checkSignals(t *testing.T, status string) {
	t.Helper()
	// Signals 32 and 33 are the C library's own: make leaves them ignored to what it starts.
	const reserved = 1<<31 | 1<<32
	for _, name := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if set, err := signalSet([]byte(status), name); set&^reserved != 0 || err != nil {
			t.Errorf("%s is %#x, %v", name, set, err)
		}
	}
}

func TestDescriptorThatTheDaemonInheritedStaysItsOwn(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c", `exec 7</dev/zero "$0" "$@"`, copyOfSelf(t, 0o755), "ls /proc/self/fd", "/")
	c.Env = []string{helperVariable + "=run"}
	out, err := c.Output()
	if err != nil || string(out) != "0\n1\n2\n3\n" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestUmaskAndLimitsAreThoseTheDaemonWasStartedWith(t *testing.T) {
	c := osexec.Command("/bin/sh", "-c", `ulimit -Sn 256; umask 027; exec "$0" "$@"`,
		copyOfSelf(t, 0o755), "ulimit -Sn; umask", "/")
	c.Env = []string{helperVariable + "=run"}
	out, err := c.Output()
	if err != nil || string(out) != "256\n0027\n" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestGroupsAreThoseOfTheDaemon(t *testing.T) {
	needRoot(t)
	if got := asHelper(t, nobody, "run", "id -u; id -G", "/"); got != "65534\n65534" {
		t.Fatalf("got %q", got)
	}
}
