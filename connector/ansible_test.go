package connector_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// largeFile is a file of several pieces in both directions: MAX_PUT and MAX_FETCH of the plugin.
const largeFile = 9<<20 + 1

// mediumFile is one of several pieces on a host with a small MAX_BODY and MAX_OUTPUT.
const mediumFile = 200_000

// sudoers lets the run user of the tests use sudo, in a mount namespace of the daemon.
const sudoers = "nobody ALL=(ALL) NOPASSWD: ALL\n"

// playFiles are files of this machine that the play sends.
var playFiles = map[string]string{
	"greeting.j2": "Hello, {{ inventory_hostname }}\n",
	"script.sh":   "#!/bin/sh\necho \"script of $*\"\n",
}

// ansible is the collection, installed as a user does it, and an inventory.
type ansible struct {
	t      *testing.T
	folder string
	hosts  []string // lines of the inventory
	keys   []string // must not be printed
}

func newAnsible(t *testing.T) *ansible {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "ansible", "ansible-playbook", "ansible-galaxy", "unshare", "sudo")
	testkit.TrackFiles("packaging/ansible", "")
	a := &ansible{t: t, folder: t.TempDir()}
	a.succeed("ansible-galaxy", "collection", "install", "--offline", "-p", a.file("collections"), testkit.Root()+"/packaging/ansible")
	return a
}

func (a *ansible) file(name string) string { return filepath.Join(a.folder, name) }

// write writes a file that only its owner can read, and returns its path.
func (a *ansible) write(name, text string) string {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return a.file(name)
}

// add adds a host of the inventory, with a file of its key and further variables.
func (a *ansible) add(name, url, key string, variables ...string) {
	a.t.Helper()
	a.keys = append(a.keys, key)
	a.hosts = append(a.hosts, fmt.Sprintf("%s ansible_sidecar_url=%s ansible_sidecar_key_file=%s %s",
		name, url, a.write("key-"+name, key+"\n"), strings.Join(variables, " ")))
}

// run runs a tool of Ansible on the inventory, and returns what it printed and its exit status.
func (a *ansible) run(tool string, args ...string) (string, int) {
	a.t.Helper()
	inventory := a.write("inventory", strings.Join(a.hosts, "\n")+"\n[all:vars]\n"+
		"ansible_connection=dataflux_func.sidecar.sidecar\nansible_python_interpreter=/usr/bin/python3\n")
	if tool == "ansible" || tool == "ansible-playbook" {
		args = append([]string{"-i", inventory, "--forks", "10"}, args...)
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), maxRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = a.folder
	cmd.Env = []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + a.folder, "LANG=C.UTF-8",
		"ANSIBLE_COLLECTIONS_PATH=" + a.file("collections"), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0",
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.t.Fatal(err)
	}
	for _, key := range a.keys {
		if bytes.Contains(out, []byte(key)) {
			a.t.Errorf("%s printed the key %s", tool, key)
		}
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (a *ansible) succeed(tool string, args ...string) string {
	a.t.Helper()
	out, status := a.run(tool, args...)
	if status != 0 {
		a.t.Fatalf("%s %s: got exit status %d, want 0\n%.20000s", tool, args, status, out)
	}
	return out
}

func plainURL(d *daemon) string { return "http://" + d.listener.Addr().String() }

// TestAnsible_Play runs ordinary modules over HTTP, over TLS with a named key, as root, and on a host with small
// bounds.
func TestAnsible_Play(t *testing.T) {
	t.Parallel()
	a := newAnsible(t)
	d := startDaemon(t)
	rules := a.write("sudoers", sudoers)
	root := startDaemonWith(t, "ALLOW_SUDO = true", fmt.Sprintf("chown 0:0 %[1]s && chmod 440 %[1]s && mount --bind %[1]s /etc/sudoers", rules))
	a.add("plain", plainURL(d), d.key, "scratch="+d.scratch)
	a.add("tls", "https://"+d.tls.Addr().String(), d.secret("free"), "ansible_sidecar_ca="+d.file("ca.pem"), "scratch="+d.scratch)
	a.add("root", plainURL(root), root.key, "scratch="+root.scratch)
	small := startDaemonWith(t, "MAX_BODY = 65536\nMAX_OUTPUT = 65536", "")
	a.add("small", plainURL(small), small.key, "scratch="+small.scratch)
	for i := range a.hosts {
		a.hosts[i] += " local=" + a.folder + " ansible_remote_tmp={{scratch}}/tmp-{{inventory_hostname}} ansible_async_dir={{scratch}}/async-{{inventory_hostname}}"
	}
	for name, text := range playFiles {
		a.write(name, text)
	}
	large := make([]byte, largeFile)
	_, _ = rand.Read(large)
	a.write("large", string(large))
	a.write("medium", string(large[:mediumFile]))
	a.keys = append(a.keys, "password-of-sudo")
	out := a.succeed("ansible-playbook", filepath.Join(testkit.Root(), "connector/testdata/ansible/play.yml"))
	for _, want := range []string{"expected time frame (2)", "did not end by itself: timed out", "hint: let sudoers permit", "hint: raise MAX_BODY", "MAX_OUTPUT of the host"} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q from the play, want it\n%s", want, out)
		}
	}
	checkContent(t, filepath.Join(root.scratch, "of-root"), []byte(playFiles["greeting.j2"]))
	checkContent(t, filepath.Join(small.scratch, "medium"), large[:mediumFile])
	checkContent(t, a.file("fetched-small"), large[:mediumFile])
	for _, host := range []string{"plain", "tls"} {
		checkContent(t, filepath.Join(d.scratch, "large-"+host), large)
		checkContent(t, a.file("fetched-"+host), large)
		checkContent(t, a.file("empty-"+host), nil)
	}
	testkit.Eventually(t, "the commands of tasks whose timeout has passed end", func() bool {
		status, running, said := testkit.Run(t, "", "jobs", "--running", "--url", plainURL(d), "--secret-key-file", a.file("key-plain"))
		if status != 0 {
			t.Fatalf("jobs --running: got exit status %d\n%s", status, said)
		}
		return !strings.Contains(running, "sleep 300")
	})
}

// fetchDirectory uses the plugin as the module fetch does, with what can be opened and not be read.
const fetchDirectory = `import sys
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader
getattr(loader, 'init_plugin_loader', lambda: None)()
connection = loader.connection_loader.get('dataflux_func.sidecar.sidecar', PlayContext(), '/dev/null')
connection.set_options(var_options={'ansible_sidecar_url': sys.argv[1], 'ansible_sidecar_key_file': sys.argv[2]})
connection.fetch_file('/usr', 'fetched')
`

// A file that cannot be read to its end is no shorter file.
func TestAnsible_FetchFails(t *testing.T) {
	t.Parallel()
	a := newAnsible(t)
	d := startDaemon(t)
	a.add("plain", plainURL(d), d.key)
	out, status := a.run("/usr/bin/python3", "-c", fetchDirectory, plainURL(d), a.file("key-plain"))
	if status == 0 || !strings.Contains(out, "cannot read /usr to its end") || !strings.Contains(out, "directory") {
		t.Errorf("got exit status %d, want an error with its cause\n%s", status, out)
	}
}

func checkContent(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, want those %d: %v", path, len(got), len(want), err)
	}
}

// TestAnsible_Refusals has two hosts that can be used, one of them with a private key, and many that cannot. Each says why, and those that cannot be reached count as
// unreachable.
func TestAnsible_Refusals(t *testing.T) {
	t.Parallel()
	a := newAnsible(t)
	d := startDaemon(t)
	a.add("fine", plainURL(d), d.key)
	a.add("wrongkey", plainURL(d), "canary-of-no-host")
	a.add("actions", plainURL(d), d.secret("deploy"))
	a.add("closed", "http://127.0.0.1:1", d.key)
	private, _ := privateKey()
	a.add("private", plainURL(d), string(private))
	a.keys = append(a.keys, strings.Split(string(private), "\n")[1])
	a.add("gone", "http://"+vanishing(t, d.listener.Addr().String()), d.key, "ansible_sidecar_reconnect_timeout=1")
	a.add("foreign", "https://"+d.tls.Addr().String(), d.key)
	a.add("badurl", "ftp://"+d.listener.Addr().String(), d.key)
	a.add("open", plainURL(d), d.key)
	a.add("empty", plainURL(d), "")
	a.keys = a.keys[:len(a.keys)-1] // the empty one is in every output
	if err := os.Chmod(a.file("key-open"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.hosts = append(a.hosts, "nokey ansible_sidecar_url="+plainURL(d), "missing ansible_sidecar_url="+plainURL(d)+" ansible_sidecar_key_file=/nonexistent/key")
	out, status := a.run("ansible", "all", "-o", "-m", "raw", "-a", "echo reached")
	if status != 4 && status != 6 { // some failed, and some are unreachable
		t.Errorf("got exit status %d, want that of unreachable hosts\n%s", status, out)
	}
	for host, want := range map[string][]string{
		"fine":     {"CHANGED", "reached"},
		"private":  {"CHANGED", "reached"},
		"wrongkey": {"UNREACHABLE", "401"},
		"actions":  {"UNREACHABLE", "403", "deploy"},
		"closed":   {"UNREACHABLE", "cannot connect"},
		"gone":     {"UNREACHABLE", "not known whether", "(job "},
		"foreign":  {"UNREACHABLE", "certificate"},
		"badurl":   {"FAILED", "must be of the form"},
		"open":     {"FAILED", "0644", "chmod 600"},
		"empty":    {"FAILED", "1 to 4096 bytes"},
		"missing":  {"FAILED", "No such file"},
		"nokey":    {"FAILED", "key_file"},
	} {
		line := lineOf(out, host+" ")
		for _, part := range want {
			if !strings.Contains(line, part) {
				t.Errorf("%s: got %q, want %q in it", host, line, part)
			}
		}
	}
}

// lineOf returns the line that begins with a prefix.
func lineOf(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// TestAnsible_BrokenConnections breaks two of seven connections, before the request has arrived or within the
// answer. Each command runs once, and files are whole.
func TestAnsible_BrokenConnections(t *testing.T) {
	t.Parallel()
	a := newAnsible(t)
	d := startDaemon(t)
	a.add("cut", "http://"+cutter(t, d.listener.Addr().String()), d.key,
		"scratch="+d.scratch, "local="+a.folder, "ansible_remote_tmp={{scratch}}/tmp")
	large := make([]byte, largeFile/2)
	_, _ = rand.Read(large)
	a.write("large", string(large))
	a.succeed("ansible-playbook", filepath.Join(testkit.Root(), "connector/testdata/ansible/cut.yml"))
	checkContent(t, filepath.Join(d.scratch, "runs"), []byte(strings.Repeat("run\n", 4)))
	checkContent(t, filepath.Join(d.scratch, "large"), large)
	checkContent(t, a.file("fetched"), large)
}

// vanishing is a host that is out of reach once it has a request.
func vanishing(t *testing.T, to string) string {
	t.Helper()
	listener := testkit.Listen(t)
	go func() {
		conn, err := listener.Accept()
		_ = listener.Close()
		if err == nil {
			relay(conn.(*net.TCPConn), to, cutAnswer)
		}
	}()
	return listener.Addr().String()
}

// cutter relays connections to an address. Of each seven it closes one before it relays the request, and one
// within the answer.
func cutter(t *testing.T, to string) string {
	t.Helper()
	listener := testkit.Listen(t)
	go func() {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(conn.(*net.TCPConn), to, i%7)
		}
	}()
	return listener.Addr().String()
}

// What relay does to a connection. It passes all others.
const (
	dropRequest = 0
	cutAnswer   = 3
)

func relay(client *net.TCPConn, to string, treatment int) {
	defer func() { _ = client.Close() }()
	if treatment == dropRequest {
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = server.(*net.TCPConn).ReadFrom(client) // until either side closes
	}()
	if treatment == cutAnswer {
		answer := make([]byte, 64<<10)
		n, _ := server.Read(answer)
		_, _ = client.Write(answer[:max(n-5, 0)])
		return
	}
	_, _ = client.ReadFrom(server)
}
