package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/units"
)

func TestService_UnitsVerified(t *testing.T) {
	m := installed(t)
	if said := m.run(append([]string{"systemd-analyze", "verify", "--man=no"}, unitNames...)...); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}
}

func TestStop_ClosesThePorts(t *testing.T) {
	m := installed(t)
	m.run("systemctl", "stop", "dataflux-func-sidecar")
	m.checkRefuses(defaultAddress)
	// A connection attempt does not start it.
	if service, socket := m.state(service), m.state(socket); service != "inactive" || socket != "inactive" {
		t.Errorf("after a stop the service is %s, the socket %s", service, socket)
	}
	if state := m.state(units.ReloadPath); state != "inactive" {
		t.Errorf("after a stop %s is %s, want inactive", units.ReloadPath, state)
	}
	m.run("systemctl", "start", "dataflux-func-sidecar")
	m.checkAnswers(defaultAddress)
	m.eventually("SIGHUP is a reload again", func() bool { return m.state(units.ReloadPath) == "active" })
}

// The stop must close the ports in every state of the service.
func TestStop_ServiceThatDoesNotRun(t *testing.T) {
	m := installed(t)
	m.sh("systemctl stop " + service + "; systemctl start " + socket)
	m.run("systemctl", "stop", service)
	m.checkRefuses(defaultAddress)

	m.write("/etc/systemd/system/"+service+".d/slow.conf", "[Service]\nRestartSec=1h\n")
	m.sh("systemctl daemon-reload; systemctl start " + service)
	m.run("kill", "-9", m.executor())
	m.eventually("systemd waits to restart it", func() bool { return m.state(service) == "activating" })
	m.run("systemctl", "stop", service)
	m.checkRefuses(defaultAddress)
}

func TestStop_ManyInARow(t *testing.T) {
	m := installed(t)
	for range 8 {
		m.run("systemctl", "stop", service)
		m.run("systemctl", "start", service)
	}
	m.checkAnswers(defaultAddress)
}

func TestRestart_KeepsTheListeningSockets(t *testing.T) {
	m := installed(t)
	sockets, executor := m.listening(), m.executor()
	if !strings.Contains(sockets, "127.0.0.1:8099") || !strings.Contains(sockets, "172.17.0.1:8099") {
		t.Fatalf("listening:\n%s", sockets)
	}
	m.run("systemctl", "restart", "dataflux-func-sidecar")
	if after := m.listening(); after != sockets {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
	if m.executor() == executor {
		t.Error("the main process is the same one")
	}
	m.checkAnswers(defaultAddress)
}

func TestService_StartedByTheFirstConnection(t *testing.T) {
	m := installed(t)
	m.run("systemctl", "stop", service)
	m.run("systemctl", "start", socket)
	if state := m.state(service); state != "inactive" {
		t.Fatalf("the service is %s before the first connection", state)
	}
	m.checkAnswers(defaultAddress) // possible before systemd has heard that the service is ready
	m.eventually("the service is active after the first connection", func() bool { return m.state(service) == "active" })
}

func TestReboot_ServesAsBefore(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099,[::1]:8200")
	job := m.client(defaultAddress).answer(t, map[string]any{"command": "echo before"}).Data.JobID
	key := m.secretKey()
	m.reboot()
	for _, unit := range []string{service, socket} {
		if state := m.state(unit); state != "active" { // before any connection: the state shows faults at boot
			t.Errorf("%s is %s after a reboot", unit, state)
		}
	}
	if m.secretKey() != key {
		t.Error("the key changed")
	}
	m.checkAnswers(defaultAddress, "[::1]:8200")
	m.run("journalctl", "--boot=-1", "--quiet", "--grep=.", "SIDECAR_JOB_ID="+job)
}

func TestReboot_WithoutDocker0(t *testing.T) {
	const onDocker0 = "172.17.0.1:8099"
	m := installed(t)
	m.reboot()
	if _, status := m.try("ip", "link", "show", "docker0"); status == 0 {
		t.Fatal("docker0 is there already")
	}
	m.checkAnswers(defaultAddress)
	for range 2 {
		m.addDocker0()
		m.checkAnswers(onDocker0)
		m.run("ip", "link", "delete", "docker0")
	}
}

func (m *machine) addDocker0() {
	m.t.Helper()
	m.sh("ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up")
}

func TestService_Status(t *testing.T) {
	m := installed(t)
	text, status := m.try("systemctl", "status", "--no-pager", "--full", service)
	if status != 0 {
		t.Fatalf("status %d\n%s", status, text)
	}
	for _, part := range []string{"Active: active (running)", "Status: \"", "TriggeredBy:", "dataflux-func-sidecar network"} {
		if !strings.Contains(text, part) {
			t.Errorf("systemctl status does not show %q:\n%s", part, text)
		}
	}
}

func TestService_UsersOfTheRoles(t *testing.T) {
	m := installed(t)
	run, role := m.run("id", "-u", "dffs"), m.run("id", "-u", "dffs-sidecar")
	for name, test := range map[string]struct{ pid, uids string }{
		"executor":     {m.executor(), strings.Join([]string{role, run, role, role}, "\t")},
		"network role": {m.network(), strings.Join([]string{role, role, role, role}, "\t")},
	} {
		status := m.run("cat", "/proc/"+test.pid+"/status")
		for _, line := range []string{"Uid:\t" + test.uids + "\n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t"} {
			if !strings.Contains(status, line) {
				t.Errorf("the %s has no line %q in its status", name, line)
			}
		}
	}
	if shown := m.run("ps", "-u", "dffs", "-o", "pid="); !slices.Contains(strings.Fields(shown), m.executor()) {
		t.Errorf("ps -u dffs shows %q and not the executor, %s", shown, m.executor())
	}
	if user := m.client(defaultAddress).shell(t, "cat /usr/local/bin/dataflux-func-sidecar 2>&1 | head -c 200"); !strings.Contains(user, "Permission denied") {
		t.Errorf("a command could read the program: %q", user)
	}
}

func TestRestart_UnderLoadLosesNoConnection(t *testing.T) {
	m := installed(t)
	load := m.startLoad(4)
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		m.run("systemctl", "restart", service)
	}
	if answered := load.stop(t); answered < 20 {
		t.Errorf("only %d requests were answered", answered)
	}
}

func TestInstall_RepeatedUnderLoadLosesNoConnection(t *testing.T) {
	m := installed(t)
	load := m.startLoad(4)
	for range 2 {
		m.install()
	}
	if answered := load.stop(t); answered < 20 {
		t.Errorf("only %d requests were answered", answered)
	}
}

func TestStop_UnderLoadAnswersAcceptedRequests(t *testing.T) {
	m := installed(t)
	answers := make(chan error, 8)
	c := m.client(defaultAddress)
	for range cap(answers) {
		go func() {
			_, answer, err := c.post(map[string]any{"command": "sleep 2; echo done"})
			if err == nil && (answer.Data == nil || answer.Data.Stdout != "done\n") {
				err = errUnexpected(answer)
			}
			answers <- err
		}()
	}
	m.eventually("the commands run", func() bool {
		count, _ := m.try("pgrep", "-c", "-x", "sleep")
		return count == "8"
	})
	m.run("systemctl", "stop", service)
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Errorf("a command was not answered: %v", err)
		}
	}
	m.checkRefuses(defaultAddress)
	m.run("systemctl", "start", service)
	m.checkAnswers(defaultAddress)
}
