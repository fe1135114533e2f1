package nowait

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe returns a pipe of which neither end waits.
func pipe(t *testing.T) (reading, writing int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	return ends[0], ends[1]
}

func TestAPipeIsReadWrittenAndClosed(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	buffer := make([]byte, 10)
	if _, err := Read(reading, buffer); err != unix.EAGAIN {
		t.Errorf("an empty pipe: %v", err)
	}
	if n, err := Write(writing, []byte("hello")); n != 5 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if n, err := Waiting(reading); n != 5 || err != nil {
		t.Errorf("%d bytes wait, %v", n, err)
	}
	if n, err := Read(reading, buffer); string(buffer[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	Close(writing)
	if n, err := Read(reading, buffer); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if _, err := Read(writing, buffer); err != unix.EBADF {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestWhatIsDiscardedIsGone(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := Discard(reading, int(null.Fd()), 10); err != unix.EAGAIN {
		t.Errorf("an empty pipe: %v", err)
	}
	if _, err := Write(writing, []byte("hello, you")); err != nil {
		t.Fatal(err)
	}
	if n, err := Discard(reading, int(null.Fd()), 7); n != 7 || err != nil {
		t.Errorf("discarded %d, %v", n, err)
	}
	if n, err := Waiting(reading); n != 3 || err != nil {
		t.Errorf("%d bytes are left, %v", n, err)
	}
	Close(writing)
	if n, err := Discard(reading, int(null.Fd()), 10); n != 3 || err != nil {
		t.Errorf("discarded %d, %v", n, err)
	}
	if n, err := Discard(reading, int(null.Fd()), 10); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestADuplicateTakesAnothersPlace(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	other, third := pipe(t)
	defer Close(other)
	if err := Duplicate(writing, third); err != nil {
		t.Fatal(err)
	}
	Close(writing)
	buffer := make([]byte, 10)
	if n, err := Read(other, buffer); n != 0 || err != nil {
		t.Errorf("its own pipe has an end yet: %d, %v", n, err)
	}
	if _, err := Write(third, []byte("hello")); err != nil {
		t.Error(err)
	}
	if n, err := Read(reading, buffer); string(buffer[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	if flags, err := unix.FcntlInt(uintptr(third), unix.F_GETFD, 0); flags != unix.FD_CLOEXEC || err != nil {
		t.Errorf("flags %d, %v", flags, err)
	}
	Close(third)
	if err := Duplicate(third, other); err != unix.EBADF {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestAFullPipeIsNotWaitedFor(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	defer Close(writing)
	much := make([]byte, 1<<20)
	n, err := Write(writing, much)
	if n <= 0 || n >= len(much) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if _, err := Write(writing, much); err != unix.EAGAIN {
		t.Errorf("a full pipe: %v", err)
	}
}

// A command must get an end that blocks, as it would anywhere else.
func TestOnlyTheWritingEndIsMadeBlocking(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	defer Close(writing)
	if err := SetBlocking(writing); err != nil {
		t.Fatal(err)
	}
	for fd, want := range map[int]int{reading: unix.O_NONBLOCK, writing: 0} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != want {
			t.Errorf("descriptor %d has flags %#o, %v", fd, flags, err)
		}
	}
}

func TestPollTellsWhatIsReady(t *testing.T) {
	reading, writing := pipe(t)
	defer Close(reading)
	defer Close(writing)
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(set)
	if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, reading, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(reading)}); err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 4)
	if n, err := Poll(set, events); n != 0 || err != nil {
		t.Errorf("nothing is ready: %d, %v", n, err)
	}
	if _, err := Write(writing, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := Poll(set, events); n != 1 || err != nil || events[0].Fd != int32(reading) {
		t.Errorf("one is ready: %d, %v", n, err)
	}
	if _, err := Poll(-1, events); err != unix.EBADF {
		t.Errorf("no set: %v", err)
	}
}

func TestAChildIsReapedOnceAndNotBeforeItsExit(t *testing.T) {
	child := exec.Command("/bin/sh", "-c", "read x; exit 3")
	input, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	pid := child.Process.Pid
	if HasExited(pid) || Reap(pid, &status, &usage) {
		t.Error("it still runs")
	}
	_ = input.Close()
	for deadline := time.Now().Add(10 * time.Second); !HasExited(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not exit")
		}
	}
	if !HasExited(pid) || !Reap(pid, &status, &usage) || status.ExitStatus() != 3 || usage.Maxrss == 0 {
		t.Errorf("status %d, %d KiB", status.ExitStatus(), usage.Maxrss)
	}
	if Reap(pid, &status, &usage) || !HasExited(pid) {
		t.Error("it is there again")
	}
}

// stream makes one of a descriptor.
func stream(t *testing.T, fd int) (*Stream, *os.File) {
	t.Helper()
	f := os.NewFile(uintptr(fd), "pipe")
	s, err := NewStream(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, f
}

func TestAStreamWaitsForItsOtherEnd(t *testing.T) {
	reading, writing := pipe(t)
	r, _ := stream(t, reading)
	w, _ := stream(t, writing)
	much := strings.Repeat("0123456789", 100_000)
	written := make(chan error, 1)
	go func() {
		n, err := w.Write([]byte(much))
		if err == nil && n != len(much) {
			err = io.ErrShortWrite
		}
		written <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != much {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestAStreamEndsAsItsFileDoes(t *testing.T) {
	reading, writing := pipe(t)
	r, file := stream(t, reading)
	w, _ := stream(t, writing)
	if err := file.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("too late: %v", err)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing asked for: %d, %v", n, err)
	}
	_ = file.SetReadDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 1))
		ended <- err
	}()
	_ = r.Close()
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("closed: %v", err)
	}
	if n, err := w.Write([]byte("x")); n != 0 || err != unix.EPIPE {
		t.Errorf("nobody reads: %d, %v", n, err)
	}
}
