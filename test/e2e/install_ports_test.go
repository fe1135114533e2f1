package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// occupy starts another program that listens, in its own unit, and returns its PID.
func (m *machine) occupy(unit, python string) (pid string) {
	m.t.Helper()
	m.run("systemd-run", "--quiet", "--unit="+unit, "python3", "-c",
		"import socket, time, os\n"+python+"\ns.listen()\nopen('/run/"+unit+"', 'w')\ntime.sleep(600)")
	m.eventually(unit+" listens", func() bool {
		_, status := m.try("test", "-e", "/run/"+unit)
		return status == 0
	})
	return m.run("systemctl", "show", "-p", "MainPID", "--value", unit)
}

func (m *machine) vacate(unit string) { m.run("systemctl", "stop", unit) }

// takenBy returns the report of a busy address.
func takenBy(address, pid string) string {
	return fmt.Sprintf("BIND address %s is taken by python3.", address) + "\x00" + "(PID " + pid + "): stop that"
}

// busy runs an installation that must name the holder of each address and change nothing.
func (m *machine) busy(args string, said ...string) {
	m.t.Helper()
	for _, part := range said {
		for piece := range strings.SplitSeq(part, "\x00") {
			m.refusal(piece, checkout+"/install.sh "+args)
		}
	}
}

func TestInstall_BusyPort(t *testing.T) {
	m := boot(t)
	m.placeCheckout()

	pid := m.occupy("one", "s = socket.create_server(('127.0.0.1', 8099))")
	m.busy("", takenBy("127.0.0.1:8099", pid), "nothing was changed")
	m.busy("--bind 0.0.0.0:8099,[::1]:8099", takenBy("0.0.0.0:8099", pid))
	m.vacate("one")

	pid = m.occupy("both", "s = socket.create_server(('::', 8099), family=socket.AF_INET6, dualstack_ipv6=True)")
	m.busy("", takenBy("127.0.0.1:8099", pid), takenBy("172.17.0.1:8099", pid)) // on no interface, but in use
	m.busy("--bind [::1]:8099", takenBy("[::1]:8099", pid))
	m.vacate("both")

	pid = m.occupy("path", "s = socket.socket(socket.AF_UNIX); s.bind('/run/other.sock')")
	m.busy("--bind /run/other.sock", takenBy("/run/other.sock", pid))
	m.busy("--bind 127.0.0.1:8099,/etc/passwd", "/etc/passwd is there and is no socket")

	m.write("/etc/systemd/system/other.socket", "[Socket]\nListenStream=127.0.0.1:8099\nAccept=yes\n")
	m.write("/etc/systemd/system/other@.service", "[Service]\nExecStart=/bin/true\n")
	m.sh("systemctl daemon-reload; systemctl start other.socket")
	m.busy("", "taken by systemd, for a socket unit")
	m.vacate("other.socket")

	m.vacate("path") // its socket file stays, which prevents nothing
	m.install("--bind", "/run/other.sock,127.0.0.1:8099")
	m.checkAnswers("/run/other.sock", "127.0.0.1:8099")
}

func TestInstall_OwnPortsAreFree(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099,/run/sidecar.sock")
	m.install()
	m.sh("systemctl stop " + service + "; systemctl start " + socket) // only systemd has the sockets
	m.install()
	m.checkAnswers("127.0.0.1:8099", "/run/sidecar.sock")
	m.sh("systemctl stop " + service + "; systemctl start " + socket)
	m.install("--bind", "0.0.0.0:8099")
	m.checkAnswers("127.0.0.1:8099")
	m.run("systemctl", "stop", service)
	m.install("--bind", "127.0.0.1:8099")
	m.checkAnswers("127.0.0.1:8099")

	executor, pid := m.executor(), m.occupy("other", "s = socket.create_server(('127.0.0.2', 8099))")
	m.busy("--bind 127.0.0.1:8099,127.0.0.2:8099", takenBy("127.0.0.2:8099", pid))
	m.busy("--bind 0.0.0.0:8099", takenBy("0.0.0.0:8099", pid)) // our own address is a part of it
	if m.executor() != executor {
		t.Error("a refused installation restarted the service")
	}

	// Another socket unit of systemd takes the port while the service is stopped.
	m.run("systemctl", "stop", service)
	m.write("/etc/systemd/system/other.socket", "[Socket]\nListenStream=127.0.0.1:8099\nAccept=yes\n")
	m.write("/etc/systemd/system/other@.service", "[Service]\nExecStart=/bin/true\n")
	m.eventually("the port is closed", func() bool { return m.state(socket) == "inactive" })
	m.sh("systemctl daemon-reload; systemctl start other.socket")
	m.busy("", "taken by systemd, for a socket unit")
}

func TestInstall_AddressOfDocker0(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("ip link add docker0 type bridge; ip address add 10.200.0.1/24 dev docker0; ip link set docker0 up")
	output := m.install()
	for _, said := range []string{"docker0 has 10.200.0.1 here", "Bind:\n    127.0.0.1:8099,10.200.0.1:8099\n"} {
		if !strings.Contains(output, said) {
			t.Errorf("it does not say %q:\n%s", said, output)
		}
	}
	m.checkAnswers("10.200.0.1:8099")

	// docker0 gets another address. The configured one is kept, and the output says what to do.
	m.sh("ip address add 10.201.0.1/24 dev docker0; ip address del 10.200.0.1/24 dev docker0")
	if output := m.install(); !strings.Contains(output, "Bind:\n    127.0.0.1:8099,10.200.0.1:8099\n") {
		t.Errorf("another address was configured, not asked for:\n%s", output)
	}
	output = m.install("--bind", "172.17.0.1:8099,127.0.0.1:8099")
	_, advice, found := strings.Cut(output, "To change it, run as root: ")
	if !found || !strings.Contains(output, "docker0 has 10.201.0.1") {
		t.Fatalf("no word of docker0:\n%s", output)
	}
	command, _, _ := strings.Cut(advice, "\n")
	m.sh(command)
	m.checkAnswers("10.201.0.1:8099", "127.0.0.1:8099")
	if output := m.install(); strings.Contains(output, "docker0") {
		t.Errorf("it warns although all is well:\n%s", output)
	}
}
