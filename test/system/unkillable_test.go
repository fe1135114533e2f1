package system

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// A network role that was killed and does not end, as a thread of it hangs in the kernel, does not
// hold up the next one, or the daemon's end. Here a tracer does not let a thread go.
func TestNetworkRole_ThatDoesNotDie(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t)
	stuck := d.networkPID()
	runtime.LockOSThread() // until the end: the tracer is this thread
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(stuck) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if tid, _ := strconv.Atoi(task.Name()); tid != stuck {
			if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, 0, 0, 0); errno != 0 {
				t.Fatal(errno)
			}
			break
		}
	}
	d.signal(stuck, syscall.SIGKILL)
	d.eventually("another role", func() bool { return d.networkPID() != stuck })
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(stuck) + "/status")
	if err != nil || !strings.Contains(string(status), "zombie") {
		t.Errorf("the former role: got %v %s, want it not reaped", err, status)
	}
	d.stop()
}
