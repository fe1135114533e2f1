package exec

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// unansweredProgram is the one file in an unansweredDir that can be looked up, and not be opened.
const unansweredProgram = "program"

// unansweredDir is a folder of a file system that takes each request and answers none, so that who
// waits for it cannot be killed, until release is called.
func unansweredDir(t *testing.T) (dir string, release func()) {
	t.Helper()
	dir, fuse, release := mountFUSE(t)
	go func() {
		for request := make([]byte, 1<<20); ; {
			n, err := unix.Read(fuse, request)
			if err != nil && err != unix.EINTR {
				return
			}
			if n < 40 {
				continue
			}
			answer := make([]byte, 16, 16+128)
			le := binary.LittleEndian
			switch opcode := le.Uint32(request[4:]); {
			case opcode == 26: // FUSE_INIT
				answer = answer[:16+64]
				le.PutUint32(answer[16:], 7)
				le.PutUint32(answer[20:], 31)
				le.PutUint32(answer[36:], 4096) // max_write
			case opcode == 1 && string(request[40:n]) == unansweredProgram+"\x00": // FUSE_LOOKUP
				answer = answer[:16+128]
				le.PutUint64(answer[16:], 2)    // its node
				le.PutUint64(answer[32:], 3600) // seconds for which that is valid
				le.PutUint64(answer[40:], 3600) // and its attributes
				le.PutUint64(answer[56:], 2)    // inode
				le.PutUint64(answer[64:], 4096) // size
				le.PutUint32(answer[116:], unix.S_IFREG|0o755)
				le.PutUint32(answer[120:], 1) // links
			default:
				continue
			}
			le.PutUint32(answer[0:], uint32(len(answer)))
			copy(answer[8:16], request[8:16])
			_, _ = unix.Write(fuse, answer)
		}
	}()
	return dir, release
}

// Newborns that cannot be killed take no thread of the daemon each: without threads it would end.
func TestBirth_UnkillableTakeNoThreads(t *testing.T) {
	dir, release := unansweredDir(t)
	r := newTestRunner(t)
	r.maxBirth = 50 * time.Millisecond
	checkLeaks := leaks(t)
	c := command("true")
	c.Dir = dir + "/x"
	takeNoThreads(t, func() {
		if _, err := r.Start(c); FaultOf(err) != FaultHost {
			t.Errorf("got %v, want the host's fault", err)
		}
	})
	runsWell(t, r)
	release()
	checkLeaks()
}

func TestLaunch_UnkillableTakeNoThreads(t *testing.T) {
	dir, release := unansweredDir(t)
	fd, err := unix.Open(dir+"/"+unansweredProgram, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), unansweredProgram)
	defer file.Close()
	s := newSpawner()
	checkLeaks := leaks(t)
	takeNoThreads(t, func() {
		_, err := Program{File: file, Arguments: []string{"x"}}.launch(s, 50*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "does not start within") {
			t.Errorf("got %v, want a start that takes too long", err)
		}
	})
	release()
	checkLeaks()
	noChildren(t)
}

// takeNoThreads checks that births that hang for good hold up no threads in system calls.
func takeNoThreads(t *testing.T, birth func()) {
	t.Helper()
	const count = 20
	inCalls := func() int { // and not threads: those of earlier births are reused
		all := make([]byte, 1<<20)
		return strings.Count(string(all[:runtime.Stack(all, true)]), " [syscall")
	}
	before := inCalls()
	var all sync.WaitGroup
	for range count {
		all.Go(birth)
	}
	all.Wait()
	testkit.Eventually(t, "hardly more threads in system calls than before", func() bool {
		return inCalls() < before+count/2
	})
}
