package listener

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// callers are both ends of a connection, ours as the role has it.
func callers(t *testing.T) (ours *caller, theirs *net.TCPConn) {
	t.Helper()
	l := listen(t)
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err == nil {
		ours, err = newCaller(accepted)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), dialled.Close() })
	return ours, dialled.(*net.TCPConn)
}

// net/http tells callers who are late or gone from broken ones by the form of the error.
func TestACallersErrorsAreThoseOfPackageNet(t *testing.T) {
	ours, theirs := callers(t)
	var timeout net.Error
	_ = ours.SetReadDeadline(time.Now())
	_, err := ours.Read(make([]byte, 1))
	if op, ok := err.(*net.OpError); !ok || op.Op != "read" || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("too late: %#v", err)
	}
	_ = ours.SetReadDeadline(time.Time{})
	if err := theirs.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	_, err = ours.Read(make([]byte, 1))
	if op, ok := err.(*net.OpError); !ok || op.Op != "read" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset: %#v", err)
	}
	_ = ours.Close()
	_, err = ours.Write([]byte("x"))
	if op, ok := err.(*net.OpError); !ok || op.Op != "write" || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %#v", err)
	}
}

func TestACallersHalvesEndOneByOne(t *testing.T) {
	ours, theirs := callers(t)
	if _, err := ours.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := ours.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(theirs); string(got) != "answer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := theirs.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	_ = theirs.CloseWrite()
	if got, err := io.ReadAll(ours); string(got) != "more" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
