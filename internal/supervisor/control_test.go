package supervisor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep/message"
)

// startControl serves the socket of a new folder, whose path is longer than the address of a socket
// may be.
func startControl(t *testing.T, peer int) (dir string, requests chan *reloadRequest) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := openControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	requests = make(chan *reloadRequest)
	server := controlServer{listener: listener, peer: peer, requests: requests}
	ended := make(chan struct{})
	go func() {
		server.run()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return dir, requests
}

func TestControl_RequestAndAnswer(t *testing.T) {
	dir, requests := startControl(t, os.Getuid())
	want := request{
		Path: "/etc/x", Config: "SECRET_KEY = \"k\"\n", Certificate: []byte("c"), Key: []byte("k"),
		Bind: []string{"127.0.0.1:1"}, Keys: [][]byte{{0, 255}},
	}
	for range 3 { // one after the other
		go func() {
			got := <-requests
			var program, own unix.Stat_t
			_ = unix.Fstat(descriptorOf(got.program), &program)
			_ = unix.Stat("/proc/self/exe", &own)
			text := "as it was sent"
			if !reflect.DeepEqual(got.request, want) || program.Ino != own.Ino || own.Ino == 0 {
				text = "another one"
			}
			got.answer(answer{Done: true, Text: text})
		}()
		got, err := sendRequest(dir, want)
		if err != nil || got != (answer{true, "as it was sent"}) {
			t.Errorf("got %+v, %v, want it as it was sent", got, err)
		}
	}
}

// Each configuration that a start accepts can be reloaded, whatever JSON makes of its text.
func TestRequest_LargestConfiguration(t *testing.T) {
	largest := request{
		Config:      strings.Repeat("<", config.MaxFile),
		Certificate: make([]byte, message.MaxCertificate), Key: make([]byte, message.MaxKey),
	}
	if _, err := readRequest(sealed(t, largest)); err != nil {
		t.Errorf("got %v, want none", err)
	}
}

func TestControl_DaemonThatEnds(t *testing.T) {
	dir, requests := startControl(t, os.Getuid())
	go func() {
		r := <-requests
		_ = r.conn.Close()
		close(r.answered)
	}()
	_, err := sendRequest(dir, request{})
	if err == nil || !strings.Contains(err.Error(), "the daemon ended during the reload") {
		t.Errorf("got %v, want the end of the daemon", err)
	}
}

func TestControl_NoDaemon(t *testing.T) {
	stale := t.TempDir()
	listener, err := openControl(stale)
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	for name, dir := range map[string]string{
		"no directory": "/none", "no socket": t.TempDir(), "a socket without a listener": stale,
	} {
		if _, err := sendRequest(dir, request{}); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: got %v, want ErrNoDaemon", name, err)
		}
	}
	if listener, err = openControl(stale); err != nil {
		t.Fatalf("replacing a stale socket: got %v, want none", err)
	}
	_ = listener.Close()
}

// What is no request of ours is answered with a reason, and the next one is served.
func TestControl_RefusesOtherRequests(t *testing.T) {
	dir, requests := startControl(t, os.Getuid())
	plain, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	large := request{Config: strings.Repeat("x", maxRequest)}
	for _, test := range []struct {
		name, verb string
		files      []*os.File
		want       string
	}{
		{"another verb", "restart", []*os.File{sealed(t, request{}), program(t)}, "does not understand"},
		{"no descriptors", controlVerb, nil, "does not understand"},
		{"one descriptor", controlVerb, []*os.File{sealed(t, request{})}, "does not understand"},
		{
			"three descriptors", controlVerb,
			[]*os.File{sealed(t, request{}), program(t), program(t)},
			"does not understand",
		},
		{"a file that can change", controlVerb, []*os.File{plain, program(t)}, "no sealed memory file"},
		{"a socket", controlVerb, []*os.File{socketFile(t), program(t)}, "it is no file"},
		{"a large request", controlVerb, []*os.File{sealed(t, large), program(t)}, "at most"},
	} {
		got := sendRaw(t, dir, test.verb, test.files...)
		if !strings.Contains(got, `"Done":false`) || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want a refusal with %q", test.name, got, test.want)
		}
	}
	go func() { (<-requests).answer(answer{Done: true}) }()
	if got, err := sendRequest(dir, request{}); err != nil || !got.Done {
		t.Errorf("after all of them: got %+v, %v, want it done", got, err)
	}
}

func sealed(t *testing.T, r request) *os.File {
	t.Helper()
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	file, err := w.Finish(r)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func program(t *testing.T) *os.File {
	t.Helper()
	file, err := openProgram("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func socketFile(t *testing.T) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "socket")
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// sendRaw sends a message with descriptors, and returns what comes back.
func sendRaw(t *testing.T, dir, text string, files ...*os.File) string {
	t.Helper()
	conn, err := dialControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, descriptorOf(f))
		}
		rights = syscall.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix([]byte(text), rights, nil); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, _ = io.Copy(&got, conn)
	return got.String()
}

// The mode of the folder keeps others out; the check holds also without it.
func TestControl_OtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, requests := startControl(t, -1)
	for path := filepath.Join(dir, controlName); path != "/"; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Chmod(path, info.Mode()|0o555)
		}
		if err == nil && path == filepath.Join(dir, controlName) {
			err = os.Chmod(path, 0o777)
		}
		if err != nil {
			t.Fatal(err)
		}
		if path == os.TempDir() {
			break
		}
	}
	folder, path, err := controlPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	said := make(chan string)
	go func() { // its thread ends with it
		runtime.LockOSThread()
		const nobody = 65534
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		if errno != 0 {
			said <- errno.Error()
			return
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			said <- err.Error()
			return
		}
		text, _ := io.ReadAll(conn)
		_ = conn.Close()
		said <- string(text)
	}()
	select {
	case got := <-said:
		if !strings.Contains(got, "only root may ask for it") {
			t.Errorf("got %q, want a refusal", got)
		}
	case <-requests:
		t.Error("got a request of another user, want a refusal")
	}
}
