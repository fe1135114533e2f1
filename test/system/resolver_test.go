package system

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// TestCallback_FollowsResolvConf runs itself again in new mount and network namespaces, where it is
// the only user of /etc/resolv.conf.
func TestCallback_FollowsResolvConf(t *testing.T) {
	testkit.NeedRoot(t)
	if os.Getenv("SIDECAR_TEST_NAMESPACES") == "" {
		t.Parallel()
		inner := exec.Command(os.Args[0], "-test.run=^TestCallback_FollowsResolvConf$", "-test.v")
		inner.Env = append(os.Environ(), "SIDECAR_TEST_NAMESPACES=1")
		inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if out, err := inner.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	ownEtc(t)
	link := func(target, text string) {
		if target != "/etc/resolv.conf" {
			_ = os.Remove("/etc/resolv.conf")
			_ = os.Symlink(target, "/etc/resolv.conf")
		}
		_ = os.MkdirAll(filepath.Dir(target), 0o755)
		if err := os.WriteFile(target+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(target+".new", target); err != nil {
			t.Fatal(err)
		}
	}
	answerDNS(t, "127.0.0.53", "corp.example")
	answerDNS(t, "::1", "corp.example")
	link("/etc/resolv.conf", "nameserver 127.0.0.99\n")
	d, v := startDaemon(t, `CALLBACK_TIMEOUT = "20s"`), newReceiver(t, ok)
	callback := func(host string) string { return strings.Replace(v.URL, "127.0.0.1", host, 1) }
	for i, step := range []struct{ target, text, host string }{
		{"/run/strange/later/resolv.conf", "nameserver 127.0.0.53\n", "receiver.corp.example"},
		{"/opt/strange/resolv.conf", "nameserver ::1\noptions ndots:1\nsearch none.example corp.example\n", "receiver"},
		{"/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", "other.corp.example"},
		{"/etc/resolv.conf", "nameserver 127.0.0.53\n", "third.corp.example"}, // replaced by a file
	} {
		link(step.target, step.text)
		d.shell(fields{"command": "true", "callbackURL": callback(step.host)})
		v.await(d, i+1)
		d.eventually("the delivery to "+step.host, func() bool { return strings.Contains(d.log(), "Callback delivered to "+step.host) })
		if step.target != "/etc/resolv.conf" && strings.Contains(d.log(), "Callback to "+step.host) {
			t.Errorf("%s: the first attempt failed:\n%s", step.target, d.log())
		}
	}
}

// ownEtc gives this process's namespaces a copy of /etc, new folders at the other paths, and a
// loopback interface that is up.
func ownEtc(t *testing.T) {
	t.Helper()
	etc := t.TempDir()
	for _, command := range [][]string{
		{"mount", "--make-rprivate", "/"},
		{"cp", "-a", "/etc/.", etc},
		{"mount", "--bind", etc, "/etc"},
		{"mount", "-t", "tmpfs", "tmpfs", "/run"},
		{"mount", "-t", "tmpfs", "tmpfs", "/opt"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	_ = os.Chmod("/etc", 0o755)
	_ = os.Remove("/etc/resolv.conf")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// answerDNS serves DNS: every host of a domain has the address 127.0.0.1.
func answerDNS(t *testing.T, address, domain string) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: 53})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for query := make([]byte, 1500); ; {
			n, peer, err := conn.ReadFromUDP(query)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDP(dnsAnswer(query[:n], domain), peer)
		}
	}()
}

// dnsAnswer copies the question and adds one record of type A, or NXDOMAIN.
func dnsAnswer(query []byte, domain string) []byte {
	var labels []string
	end := 12
	for ; query[end] != 0; end += int(query[end]) + 1 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
	}
	end += 5
	answer := append([]byte{}, query[:end]...)
	copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	switch {
	case !strings.HasSuffix(strings.Join(labels, "."), "."+domain):
		answer[3] = 0x83
	case query[end-3] == 1:
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return answer
}
