package exec

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// unansweredDir is a folder of a file system that takes each request and answers none, so that who
// waits for it cannot be killed, until release is called.
func unansweredDir(t *testing.T) (dir string, release func()) {
	t.Helper()
	testkit.Need(t, os.Geteuid() == 0, "needs root, to mount")
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	testkit.Need(t, err == nil, "needs /dev/fuse")
	dir = t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse)
	if err := unix.Mount("none", dir, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	go func() {
		for request := make([]byte, 1<<20); ; {
			n, err := unix.Read(fuse, request)
			if err != nil && err != unix.EINTR {
				return
			}
			if opcode := binary.LittleEndian.Uint32(request[4:]); n >= 40 && opcode == 26 { // FUSE_INIT
				var answer [16 + 64]byte
				binary.LittleEndian.PutUint32(answer[0:], uint32(len(answer)))
				copy(answer[8:16], request[8:16])
				binary.LittleEndian.PutUint32(answer[16:], 7)
				binary.LittleEndian.PutUint32(answer[20:], 31)
				binary.LittleEndian.PutUint32(answer[36:], 4096) // max_write
				_, _ = unix.Write(fuse, answer[:])
			}
		}
	}()
	release = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		_ = unix.Close(fuse)
	})
	t.Cleanup(release)
	return dir, release
}

// Newborns that cannot be killed take no thread of the daemon each: without threads it would end.
func TestBirth_UnkillableTakeNoThreads(t *testing.T) {
	const count = 20
	dir, release := unansweredDir(t)
	r := newTestRunner(t)
	r.maxBirth = 50 * time.Millisecond
	checkLeaks := leaks(t)
	threads := func() int {
		tasks, _ := os.ReadDir("/proc/self/task")
		return len(tasks)
	}
	before := threads()
	c := command("true")
	c.Dir = dir + "/x"
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			if _, err := r.Start(c); FaultOf(err) != FaultHost {
				t.Errorf("got %v, want the host's fault", err)
			}
		})
	}
	all.Wait()
	testkit.Eventually(t, "hardly more threads than before", func() bool {
		return threads() < before+count/2
	})
	runsWell(t, r)
	release()
	checkLeaks()
}
