package privsep

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The caller can log it, and seccomp still holds.
func TestEnterLandlock_Missing(t *testing.T) {
	got := answer(t, attacker(t, "without", "landlock"))
	if !strings.HasPrefix(got, "0 no Landlock") || !strings.HasSuffix(got, "\nEPERM") {
		t.Errorf("got %q, want version 0 and a refusal by seccomp", got)
	}
	if err := LandlockInForce(); err == nil {
		t.Error("without Landlock: got a proof that it is in force, want an error")
	}
}

func TestEnterLandlock_RightsByVersion(t *testing.T) {
	for _, test := range []struct {
		abi  int
		want rulesetAttr
		size uintptr
	}{
		{1, rulesetAttr{0x1fff, 0, 0}, 8},
		{2, rulesetAttr{0x3fff, 0, 0}, 8},
		{3, rulesetAttr{0x7fff, 0, 0}, 8},
		{4, rulesetAttr{0x7fff, 1, 0}, 16},
		{5, rulesetAttr{0xffff, 1, 0}, 16},
		{6, rulesetAttr{0xffff, 1, 3}, 24},
		{7, rulesetAttr{0xffff, 1, 3}, 24},
		{99, rulesetAttr{0xffff, 1, 3}, 24},
	} {
		got := deniedBy(test.abi)
		if got != test.want || got.size() != test.size {
			t.Errorf("ABI %d: got %+v of %d bytes, want %+v of %d",
				test.abi, got, got.size(), test.want, test.size)
		}
	}
}

// The signal that the parent asked for at the fork belongs to a thread that stage two need not run
// on.
func TestRole_EndsWithItsParentThread(t *testing.T) {
	needLandlock(t, 1)
	role := attacker(t, "in", "both", "sleep")
	role.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := role.StdinPipe() // a role that lives on ends when this does, and not by a signal
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(5*time.Second, func() { in.Close() }).Stop()
	out, err := role.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = onEndingThread(func() error {
		if err := role.Start(); err != nil {
			return err
		}
		_, err := bufio.NewReader(out).ReadString('\n')
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := role.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the end of the role: got %v, want signal: killed", err)
	}
}

// onEndingThread runs f on a thread that then ends. The thread that a process began with never
// does, so it is kept busy if it is the one that came.
func onEndingThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			result <- onEndingThread(f)
			return
		}
		result <- f()
	}()
	return <-result
}

// A command of the same user may look between a role's start and its first instruction: a program
// that its user may not read is non-dumpable from the start.
func TestRole_UnreadableFromItsStart(t *testing.T) {
	needRoot(t)
	got := peekAt(t, 0o711, "sleep")
	if strings.Contains(got, "succeeded") || strings.Count(got, "\n") != 5 {
		t.Errorf("program of mode 0711: another process of the same user got\n%s\nwant six refusals", got)
	}
	if got := peekAt(t, 0o755, "sleep"); !strings.Contains(got, "mem succeeded") {
		t.Errorf("program of mode 0755: another process of the same user got\n%s\nwant its memory", got)
	}
}

// Whatever the mode of the program is.
func TestSandbox_Unreadable(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	if got := peekAt(t, 0o755, "in", "both", "sleep"); strings.Contains(got, "succeeded") {
		t.Errorf("another process of the same user got\n%s\nwant refusals only", got)
	}
}

// peekAt starts a copy of the program that has the given mode, and lets a second process of the
// same user look at it.
func peekAt(t *testing.T, mode os.FileMode, args ...string) string {
	t.Helper()
	target := attacker(t, args...)
	target.Path = copyProgram(t, target.Path, mode)
	target.Args[0] = target.Path
	target.SysProcAttr = asTestUser()
	pid := startAndRead(t, target)
	spy := attacker(t, "peek", pid)
	spy.SysProcAttr = asTestUser()
	return answer(t, spy)
}

func asTestUser() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID, Gid: testUID}}
}

func copyProgram(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(attackFolder, "copy-")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "role")
	if err := os.WriteFile(copied, data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(copied, mode); err != nil {
		t.Fatal(err)
	}
	return copied
}

// startAndRead starts a program that runs until its input ends, and returns the first line that it
// prints.
func startAndRead(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", cmd.Args, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: got no line, %v", cmd.Args, err)
	}
	return strings.TrimSpace(line)
}
