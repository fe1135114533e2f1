package privsep

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listeningTable lists the ways to end or change a listening socket that other processes have too.
// Each must succeed without the sandbox. Ends means that no caller gets in after it.
var listeningTable = []struct {
	name, sandbox string
	ends          bool
}{
	{"shutdown", "EPERM", true},
	{"shutdown-high", "EPERM", true},
	{"connect", "EPERM", true},
	{"connect-high", "EPERM", true},
	{"dup", "EPERM", true},
	{"dup3", "EPERM", true},
	{"fcntl-dup", "EPERM", true},
	{"fcntl-cloexec", "EPERM", true},
	{"fcntl-high", "EPERM", true},
	{"rights", "EPERM", true},
	{"pidfd", "EPERM", true},
	{"fork", "killed", true},
	{"blocking", "EPERM", false},
	{"listen", "EPERM", false},
	{"keepalive", "EPERM", false},
	{"keepidle", "EPERM", false},
	{"defer-accept", "EPERM", false},
	{"receive-time", "EPERM", false},
}

func TestSandbox_ListeningSocketStays(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	for _, attack := range listeningTable {
		t.Run(attack.name, func(t *testing.T) {
			if got, alive := attackSocket(t, attack.name); got != "succeeded" || alive == attack.ends {
				t.Errorf("without the sandbox: got %q, callers get in: %t; want success, %t",
					got, alive, !attack.ends)
			}
			if got, alive := attackSocket(t, attack.name, "in", "both"); got != attack.sandbox || !alive {
				t.Errorf("in the sandbox: got %q, callers get in: %t; want %q, true",
					got, alive, attack.sandbox)
			}
		})
	}
}

// attackSocket lets the program attack one of two sockets that it inherits, and reports whether
// that one still accepts connections. This test has the socket too, as systemd does.
func attackSocket(t *testing.T, name string, before ...string) (string, bool) {
	t.Helper()
	cmd := attacker(t, append(before, "listening", name)...)
	cmd.Env = append(cmd.Env, "ATTACK_LISTENERS=2")
	first, second := listenTCP(t), listenTCP(t)
	cmd.ExtraFiles = []*os.File{fileOf(t, first), fileOf(t, second)}
	got := answer(t, cmd)
	conn, err := net.DialTimeout("tcp", first.Addr().String(), 10*time.Second)
	if err != nil {
		return got, false
	}
	return got, conn.Close() == nil
}

// Standard error is journald's stream under systemd, and the executor's too.
func TestSandbox_StandardErrorStays(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	for _, before := range [][]string{nil, {"in", "both"}} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		executors, journal := os.NewFile(uintptr(pair[0]), "executor's"), os.NewFile(uintptr(pair[1]),
			"journal's")
		cmd := attacker(t, append(before, "listening", "shutdown")...)
		cmd.Stderr = executors
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		_, err = executors.WriteString("entry")
		if broken := errors.Is(err, unix.EPIPE); broken != (before == nil) {
			t.Errorf("in %v: got %q, and %v for the executor's next entry; want EPIPE without the sandbox "+
				"only", before, out, err)
		}
		_ = executors.Close()
		if got, _ := io.ReadAll(journal); before != nil && string(got) != "entry" {
			t.Errorf("the journal: got %q, want entry", got)
		}
		_ = journal.Close()
	}
}

// A listener that is closed keeps its number, or a connection that gets it could not be shut down.
func TestListener_DescriptorAfterClose(t *testing.T) {
	inherited, err := InheritListeners(dup(t, fileOf(t, listenTCP(t))), 1)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error)
	go func() {
		_, err := inherited[0].Accept()
		accepted <- err
	}()
	if err := inherited[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting for a caller: got %v, want net.ErrClosed", err)
	}
	if _, err := inherited[0].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting after the end: got %v, want net.ErrClosed", err)
	}
	fd := int(inherited[0].Descriptor())
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if got != 1 || err != nil {
		t.Errorf("SO_ACCEPTCONN of descriptor %d: got %d, %v; want 1", fd, got, err)
	}
	_ = inherited[0].Listener.Close()
}

func TestInheritListeners_Pipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got, err := InheritListeners(dup(t, r), 1); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// fileOf returns a second descriptor of a listening socket, which can be passed on.
func fileOf(t *testing.T, l interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// dup returns a descriptor that InheritListeners can close.
func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
