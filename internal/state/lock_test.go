package state

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// zombieDir makes this program a daemon that has died but for its other threads, like one that was
// killed while a thread hangs in the kernel: it holds the directory's lock.
const zombieDir = "SIDECAR_STATE_ZOMBIE"

func init() {
	if os.Getenv(zombieDir) != "" {
		runtime.LockOSThread() // to the main thread, whose end makes the zombie
	}
}

func becomeZombie(dir string) {
	if _, err := OpenDir(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

func TestLock_OfADaemonThatCannotDie(t *testing.T) {
	path := t.TempDir()
	predecessor := exec.Command("/proc/self/exe")
	predecessor.Env = append(os.Environ(), zombieDir+"="+path)
	out, err := predecessor.StdoutPipe()
	if err == nil {
		err = predecessor.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = predecessor.Process.Kill()
		_ = predecessor.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("got %q, %v, want held", line, err)
	}
	testkit.Eventually(t, "the predecessor is a zombie", func() bool {
		return isDying(fmt.Sprint(predecessor.Process.Pid))
	})
	d, err := openDirWithin(path, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	// The lock holds against others as before.
	_, err = openDirWithin(path, 100*time.Millisecond)
	if !errors.Is(err, ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a third daemon: got %v, want that it is in use by this process", err)
	}
}

func TestIsDying_LivingProcess(t *testing.T) {
	for _, pid := range []string{fmt.Sprint(os.Getpid()), "1", "unknown", "999999999"} {
		if isDying(pid) {
			t.Errorf("process %s: got true, want false", pid)
		}
	}
}
