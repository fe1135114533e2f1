package exec

import (
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperVariable makes this program one of the helpers below, for what can be
// seen only from a process of its own: another user, other limits, own memory.
const helperVariable = "SIDECAR_EXEC_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helper(name, os.Args[1:]))
	}
	if err := enterCage(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot enter the cage:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func helper(name string, args []string) int {
	switch name {
	case "run": // TEXT DIR: what the command says, or whose fault it is
		return helperRun(args[0], args[1])
	case "flood": // how much memory much output takes
		return helperFlood()
	case "peak": // TEXT: how much memory it is said to have taken
		return helperPeak(args[0])
	case "survivor": // SETUID-PROGRAM: a command that becomes another user's
		return helperSurvivor(args[0])
	case "storm": // KERNEL: commands while signals arrive
		return helperStorm(args[0])
	case "linger":
		return helperLinger()
	}
	return 2
}

func helperRun(text, dir string) int {
	r, err := NewRunner(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := command(text)
	c.Dir = dir
	p, err := r.Start(c)
	if err != nil {
		fmt.Println("fault", FaultOf(err), err)
		return 0
	}
	<-p.Done()
	_, _ = p.Stdout().WriteTo(os.Stdout)
	_, _ = p.Stderr().WriteTo(os.Stdout)
	return 0
}

func helperFlood() int {
	r, _ := NewRunner(nil)
	c := command("head -c 400000000 /dev/zero; head -c 100000000 /dev/zero >&2")
	c.MaxOutput = 1 << 20
	p, err := r.Start(c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-p.Done()
	fmt.Println(p.Stdout().Total(), p.Stderr().Total(), p.Stdout().Kept(), p.Stderr().Kept(), peak())
	return 0
}

func helperPeak(text string) int {
	r, _ := NewRunner(nil)
	p, err := r.Start(command(text))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-p.Done()
	fmt.Println(p.Result().MaxRSS)
	return 0
}

// peak is this program's largest resident size in KiB. Unlike rusage's it does
// not include that of the program which started it.
func peak() (kib int64) {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

func helperSurvivor(program string) int {
	r, _ := NewRunner(nil)
	c := command("exec " + program)
	c.Env = []string{helperVariable + "=linger"}
	c.Timeout, c.Grace = 300*time.Millisecond, 100*time.Millisecond
	p, err := r.Start(c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-p.Done()
	fmt.Println(p.PID(), p.Result().StillRunning, p.Result().Ended, p.Result().Duration.Milliseconds())
	return 0
}

// helperLinger runs set-uid root. It ends by itself should nobody end it.
func helperLinger() int {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	time.Sleep(10 * time.Second)
	return 0
}

// copyOfSelf is this program where every user can run it.
func copyOfSelf(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sidecar-exec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "exec.test")
	// A child that another test forks now would hold the file open for writing until it executes
	// something, and what is open for writing cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	to.Close()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// asHelper runs this program as a helper. With uid it runs as that user. The
// shell between us is small: a program inherits its starter's peak of memory.
func asHelper(t *testing.T, uid uint32, name string, args ...string) string {
	t.Helper()
	args = append([]string{"-c", `"$0" "$@"; exit $?`, copyOfSelf(t, 0o755)}, args...)
	c := osexec.Command("/bin/sh", args...)
	c.Dir, c.Env = "/", []string{helperVariable + "=" + name}
	if uid != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("helper %s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

// nobody is a user other than us.
const nobody = 65534

// need skips a test that lacks something. The build that must not skip
// anything sets SIDECAR_NO_SKIP.
func need(t *testing.T, there bool, what string) {
	t.Helper()
	if there {
		return
	}
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal("this test must run here, but lacks " + what)
	}
	t.Skip("this test lacks " + what)
}

func needRoot(t *testing.T) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to become another user")
}
