package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// ping has file capabilities on Debian. A bounding set without them makes its execve fail, and
// no_new_privs removes them, so it needs the range of groups that the unit sets.
func TestCommand_Ping(t *testing.T) {
	m := installed(t)
	m.sh("echo 1 0 > /proc/sys/net/ipv4/ping_group_range; systemctl restart " + service) // the default of the kernel, and of Debian 12
	for _, address := range []string{"127.0.0.1", "::1"} {
		answer := m.client(defaultAddress).answer(t, map[string]any{"command": "ping -c1 " + address})
		if answer.Data.ExitCode == nil || *answer.Data.ExitCode != 0 {
			t.Errorf("ping -c1 %s: %+v", address, answer.Data)
		}
	}
	if got, want := m.run("cat", "/proc/sys/net/ipv4/ping_group_range"), m.run("id", "-g", "dffs"); got != want+"\t"+want {
		t.Errorf("the range of groups is %q, want that of dffs, %s, alone", got, want)
	}
	// A range that the administrator has set stays.
	m.sh("echo 5 2147483647 > /proc/sys/net/ipv4/ping_group_range; systemctl restart " + service)
	if got := m.run("cat", "/proc/sys/net/ipv4/ping_group_range"); got != "5\t2147483647" {
		t.Errorf("the range of groups is %q after a restart", got)
	}
}

// A just-in-time compiler makes memory executable, and Node reserves much of it.
func TestCommand_Node(t *testing.T) {
	node, err := exec.LookPath("node")
	testkit.Need(t, err == nil, "Node.js on this host")
	m := installed(t)
	m.place(node, "/usr/local/bin/node", 0o755)
	m.write("/tmp/hot.js", `
let sum = 0
for (let i = 0; i < 5e6; i++) sum += i % 7 // enough to be compiled
fetch("http://127.0.0.1:8099/").then(answer => answer.text()).then(text => console.log(sum, text.split("\n")[0]))
`)
	m.run("chmod", "a+r", "/tmp/hot.js")
	answer := m.client(defaultAddress).answer(t, map[string]any{"command": "node /tmp/hot.js"})
	if want := "14999995 Welcome to DataFlux Func Sidecar\n"; answer.Data.Stdout != want {
		t.Errorf("got %+v, want %q", *answer.Data, want)
	}
}

// The daemon and its commands belong to one unit, and journald limits the rate of a unit.
func TestJournal_FloodByACommand(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	m.write("/usr/local/lib/flood.py", `
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect("/run/systemd/journal/socket")
for i in range(90000):
    s.send(b"MESSAGE=flood %d\nPRIORITY=6\n" % i)
`)
	m.run("chmod", "0644", "/usr/local/lib/flood.py")
	if got := c.shell(t, "python3 /usr/local/lib/flood.py && echo sent"); got != "sent" {
		t.Fatalf("the flood: %q", got)
	}
	job := c.answer(t, map[string]any{"command": "echo after the flood"}).Data.JobID
	m.eventually("the journal has start and end of the command after the flood", func() bool {
		out, _ := m.try("journalctl", "--quiet", "-o", "cat", "SIDECAR_JOB_ID="+job)
		return strings.Count(out, "\n") >= 1
	})
	if out, _ := m.try("journalctl", "--quiet", "-o", "cat", "--grep", "^Suppressed .* messages from "+service); out != "" {
		t.Errorf("the journal says %q", out)
	}
}
