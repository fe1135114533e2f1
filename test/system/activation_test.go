package system

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// launchWithSockets starts the daemon as a service manager does, with descriptors from 3 on.
func (d *daemon) launchWithSockets(files []*os.File, args ...string) {
	d.t.Helper()
	d.launchWithNamedSockets(files, "canary", args...)
}

// launchWithNamedSockets also passes the names, separated by colons as systemd does.
func (d *daemon) launchWithNamedSockets(files []*os.File, names string, args ...string) {
	d.t.Helper()
	log, err := os.OpenFile(d.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args = append([]string{"serve", "--config", d.config, "--state-dir", d.stateDir()}, args...)
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody", "--role-user", "daemon")
	}
	// The shell knows only its own id, which becomes the daemon's.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, testkit.Program(d.t)}, args...)...)
	cmd.Stderr, cmd.Dir, cmd.ExtraFiles = log, "/", files
	cmd.Env = append(append(daemonEnvironment(), fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names), d.environment...)
	d.follow(cmd)
}

func listeningFile(t testing.TB, network, address string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var f *os.File
	switch l := l.(type) {
	case *net.TCPListener:
		f, err = l.File()
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
		f, err = l.File()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, l.Addr().String()
}

func TestActivation_EverySocketIsServed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	first, firstAddress := listeningFile(t, "tcp", "127.0.0.1:0")
	second, path := listeningFile(t, "unix", sharedDir(t)+"/sidecar.sock")
	third, thirdAddress := listeningFile(t, "tcp", d.address)
	d.configure(strconv.Quote(testKey), fmt.Sprintf("BIND = %q", thirdAddress+","+path+","+firstAddress))
	d.launchWithSockets([]*os.File{first, second, third})
	d.awaitLog("Ready: ")
	if strings.Contains(d.log(), "differ from BIND") {
		t.Errorf("the same sockets in another order are taken for others:\n%s", d.log())
	}
	for network, address := range map[string]string{"tcp": firstAddress, "unix": path} {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if a := d.newWire(conn).put("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.body != welcome {
			t.Errorf("%s: got %d %s", address, a.status, a.body)
		}
	}
	if a := d.run("env; ls /proc/$$/fd"); !strings.HasSuffix(a.Data.Stdout, "\n0\n1\n2\n") || strings.Contains(a.Data.Stdout, "LISTEN_") {
		t.Errorf("got %s", a.Data.Stdout)
	}
}

func TestActivation_SocketsDifferFromBind(t *testing.T) {
	t.Parallel()
	path := sharedDir(t) + "/missing/sidecar.sock"
	d := newDaemon(t, strconv.Quote(testKey), fmt.Sprintf("BIND = %q", path))
	file, _ := listeningFile(t, "tcp", d.address)
	d.launchWithSockets([]*os.File{file})
	d.awaitLog("Ready: ")
	wantAll(t, d.log(), "Opened by the daemon itself: "+path, "serving with "+d.address+" in addition", "dataflux-func-sidecar configure --apply")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if a := d.newWire(conn).put("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.body != welcome {
		t.Errorf("%s: got %d %s", path, a.status, a.body)
	}
	if a := d.run("echo served"); a.Data.Stdout != "served\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestActivation_NoListeningSocket(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	good, _ := listeningFile(t, "tcp", d.address)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connected, other := os.NewFile(uintptr(pair[0]), "pair"), os.NewFile(uintptr(pair[1]), "pair")
	defer func() { _, _ = connected.Close(), other.Close() }()
	for want, file := range map[string]*os.File{"it is not a socket": null, "it does not listen": connected} {
		d.launchWithSockets([]*os.File{good, file})
		d.awaitEnd()
		if log := d.log(); d.state.ExitCode() != 1 || !strings.Contains(log, "socket 2 ") || !strings.Contains(log, want) {
			t.Errorf("%v:\n%s", d.state, log)
		}
	}
	d.launchWithSockets([]*os.File{good}, "--bind", "127.0.0.1:1")
	d.awaitEnd()
	if log := d.log(); d.state.ExitCode() != 1 || !strings.Contains(log, "hint: change BIND in the configuration") {
		t.Errorf("%v:\n%s", d.state, log)
	}
}
