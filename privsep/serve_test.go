package privsep

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startRole starts a sandboxed HTTP server as the test user, with a program that this user cannot
// read, as it is installed. It returns its base URL and process id.
func startRole(t *testing.T) (base string, pid int) {
	t.Helper()
	listener := listenTCP(t)
	return "http://" + listener.Addr().String(), startRoleOn(t, fileOf(t, listener))
}

func startRoleOn(t *testing.T, listener *os.File) int {
	t.Helper()
	role := attacker(t, "in", "both", "serve")
	role.Path = copyProgram(t, role.Path, 0o711)
	role.Args[0] = role.Path
	role.ExtraFiles = []*os.File{listener}
	role.Env = append(role.Env, "ATTACK_LISTENERS=1")
	role.SysProcAttr = asTestUser()
	if line := startAndRead(t, role); line != "serving" {
		t.Fatalf("the first line of the role: got %q, want serving", line)
	}
	return role.Process.Pid
}

func TestSandbox_UnixSockets(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	startRoleOn(t, fileOf(t, listener))
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn,
			error,
		) {
			return net.Dial("unix", path)
		},
	}}
	if err := echo(client, "http://role", []byte("over a Unix socket")); err != nil {
		t.Error(err)
	}
}

func TestSandbox_Load(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	base, pid := startRole(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 25 {
				if err := echo(http.DefaultClient, base, body); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	checkThreads(t, pid)
}

func echo(client *http.Client, base string, body []byte) error {
	answer, err := client.Post(base+"/echo", "text/plain", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && !bytes.Equal(got, body) {
		err = fmt.Errorf("got %d bytes back, want the %d that were sent", len(got), len(body))
	}
	return err
}

// checkThreads looks from outside at what every thread is confined by.
func checkThreads(t *testing.T, pid int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 3 {
		t.Fatalf("got %d threads, error %v; want 3 at least", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // this thread has ended meanwhile
		}
		for _, line := range []string{"Seccomp:\t2\n", "Seccomp_filters:\t1\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(string(text), line) {
				t.Errorf("%s: got\n%s\nwant %q in it", file, text, line)
			}
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "),
		"Max core file size 0 0") {
		t.Errorf("limits: got error %v and\n%s\nwant a core file size of 0", err, limits)
	}
}

func TestSandbox_Callbacks(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	base, _ := startRole(t)
	for _, target := range receivers(t) {
		got := askToPost(t, base, target)
		if got != "200 OK thanks for 65536" {
			t.Errorf("post to %s: got %q, want thanks", target, got)
		}
	}
}

// receivers listen on IPv4 and IPv6, and are named by address and by name.
func receivers(t *testing.T) []string {
	t.Helper()
	thanks := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "thanks for %d", n)
	})
	var targets []string
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			skip(t, "needs IPv4 and IPv6 on the loopback interface")
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: thanks}}
		server.Start()
		t.Cleanup(server.Close)
		targets = append(targets, server.URL)
	}
	// Not every host knows ::1 as localhost.
	return append(targets, strings.Replace(targets[0], "127.0.0.1", "localhost", 1))
}

func askToPost(t *testing.T, base, target string) string {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	answer, err := client.Get(base + "/post?to=" + url.QueryEscape(target))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// The handshake and the host's roots work, so a server with a certificate of its own is refused for
// that and for nothing else.
func TestSandbox_CallbacksOverTLS(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	base, _ := startRole(t)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	got := askToPost(t, base, server.URL)
	if !strings.Contains(got, "certificate signed by unknown authority") {
		t.Errorf("post to a server with a certificate of its own: got %q, want an unknown authority", got)
	}
}

// The file is replaced by rename, as every manager of it does, in /etc itself and in systemd's
// folder. TestCallback_FollowsResolvConf is about the others.
func TestSandbox_ResolvConf(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needLandlock(t, 1)
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			world := attacker(t, "dnsworld", path)
			world.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
			if got := answer(t, world); got != "127.0.0.1\n127.0.0.2\n127.0.0.9" {
				t.Errorf("got the addresses %q, want those of the first, the second and the hosts file", got)
			}
		})
	}
}
