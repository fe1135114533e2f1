package listener

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"dataflux-func-sidecar/privsep/message"
)

// A caller on a Unix socket chooses the name of its own socket, which must not pass for an address
// in FROM of a key.
func TestRequest_NamedSocketOfACaller(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := net.Listen("unix", "service")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := newRigOn(t, l, usualLimits(), message.Identity{}, func(*Role) {})
	for _, name := range []string{"", "10.0.0.1:80", "@[::1]:80"} {
		var own *net.UnixAddr
		if name != "" {
			own = &net.UnixAddr{Name: name, Net: "unix"}
		}
		conn, err := net.DialUnix("unix", own, &net.UnixAddr{Name: "service", Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, signedRequest("{}"))
		call, err := message.DecodeCall(r.expect(message.Request).Payload)
		if want := "unix socket"; err != nil || call.Remote != want {
			t.Errorf("a socket named %q: got the address %q, %v; want %q", name, call.Remote, err, want)
		}
	}
}

// failingListener fails once with each of the errors, and then accepts.
type failingListener struct {
	net.Listener
	errors []error
	next   atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if n := int(l.next.Add(1)) - 1; n < len(l.errors) {
		err := os.NewSyscallError("accept4", l.errors[n])
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	return l.Listener.Accept()
}

// A host that is short of memory for a moment must not cost the callers who wait their answers.
func TestAccept_TransientErrors(t *testing.T) {
	l := &failingListener{
		Listener: listen(t), errors: []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EHOSTUNREACH},
	}
	r := newRigOn(t, l, usualLimits(), message.Identity{}, func(*Role) {})
	if response, body := r.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n"); body != "banner\n" {
		t.Errorf("got %d %q, want the banner", response.StatusCode, body)
	}
}

// A listening socket that is of no use ends the role, which the executor notices.
func TestAccept_OtherErrorEndsTheRole(t *testing.T) {
	l := &failingListener{Listener: listen(t), errors: []error{syscall.EINVAL}}
	r := newRigOn(t, l, usualLimits(), message.Identity{}, func(*Role) {})
	if err := <-r.ended; err == nil {
		t.Error("got no error, want that of accept")
	}
}
