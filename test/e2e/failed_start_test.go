package e2e

import (
	"strings"
	"testing"
)

const notServing = "dataflux-func-sidecar-not-serving.service"

// faultOfStart keeps the daemon from starting until it is repaired. Both are shell scripts.
type faultOfStart struct{ name, make, repair, cause string }

func faultsOfStart() []faultOfStart {
	const config, state = "/etc/dataflux-func-sidecar", "/var/lib/dataflux-func-sidecar"
	return []faultOfStart{
		{"readable configuration", "chmod 0644 " + config, "chmod 0600 " + config, "has mode 0644"},
		{
			"unknown key", "echo 'MAX_RUNING = 1' >>" + config, "sed -i /RUNING/d " + config,
			"MAX_RUNING",
		},
		{
			"TLS key of another certificate",
			"printf 'TLS_CERTIFICATE = \"/root/cert.pem\"\nTLS_KEY = \"" + tlsFolder + "/key.pem\"\n' >>" + config,
			"sed -i /^TLS_/d " + config, "TLS_KEY",
		},
		{
			"full disk", "mount -t tmpfs -o size=64k tmpfs " + state + "; head -c 64k /dev/zero >" + state + "/full || :",
			"umount " + state, "no space left on device",
		},
		{
			"state directory in use", "systemd-run --quiet --unit=other flock " + state + "/lock sleep infinity",
			"systemctl stop other; touch " + config, "in use by another daemon",
		},
	}
}

func TestFailedStart_EachFault(t *testing.T) {
	m := installed(t)
	m.writeCertificate()
	m.run("cp", tlsFolder+"/cert.pem", "/root/cert.pem")
	m.writeCertificate()
	for _, fault := range faultsOfStart() {
		t.Run(fault.name, func(t *testing.T) { m.checkFailedStart(t, fault) })
	}
}

// checkFailedStart checks what an operator and a caller see of a start that fails again and again,
// and that a repair alone heals it.
func (m *machine) checkFailedStart(t *testing.T, fault faultOfStart) {
	m.run("systemctl", "stop", service) // the fault may be a mount or a lock
	m.sh(fault.make)
	if out, status := m.try("systemctl", "start", service); status == 0 {
		t.Fatalf("it starts:\n%s", out)
	}
	sockets := m.listening()
	m.eventually("systemd's restart waits", func() bool {
		text, _ := m.try("systemctl", "show", "-p", "StatusText", service)
		return strings.Contains(text, "Not serving: ") && strings.Contains(text, fault.cause)
	})
	if text, _ := m.try("systemctl", "status", "--no-pager", service); !strings.Contains(text, "Status: \"Not serving: ") {
		t.Errorf("systemctl status does not say the cause:\n%s", text)
	}
	if failed := m.failedUnits(); failed != notServing {
		t.Errorf("got the failed units %q, want %q", failed, notServing)
	}
	if state, _ := m.try("systemctl", "is-system-running"); state != "degraded" {
		t.Errorf("got the system %q, want degraded", state)
	}
	if n := m.refusedStarts(fault.cause); n != 1 {
		t.Errorf("got %d entries about the cause, want 1", n)
	}
	if out, status := m.try("systemctl", "restart", service); status == 0 || m.refusedStarts(fault.cause) != 2 {
		t.Errorf("a restart by hand ended with %d and %d entries about the cause, want 1 and 2:\n%s",
			status, m.refusedStarts(fault.cause), out)
	}
	if now := m.listening(); now != sockets {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, now)
	}

	answered := make(chan error, 1)
	go func() { // waits in the backlog
		_, _, err := m.client(defaultAddress).post(map[string]any{"command": "true"})
		answered <- err
	}()
	m.sh(fault.repair)
	m.eventually("the service heals", func() bool { return m.state(service) == "active" })
	if err := <-answered; err != nil {
		t.Errorf("the caller got %v", err)
	}
	m.eventually("no unit counts as failed", func() bool { return m.failedUnits() == "" })
}

func (m *machine) failedUnits() string {
	text, _ := m.try("systemctl", "list-units", "--failed", "--plain", "--no-legend")
	var names []string
	for line := range strings.Lines(text) {
		names = append(names, strings.Fields(line)[0])
	}
	return strings.Join(names, " ")
}

// refusedStarts counts the journal entries of refused starts that have the text.
func (m *machine) refusedStarts(text string) (count int) {
	m.t.Helper()
	said := m.sh("journalctl --sync; journalctl --quiet -o cat MESSAGE_ID=263815be79ff4c408d50b34f3608c59b")
	for line := range strings.Lines(said) {
		if strings.Contains(line, text) {
			count++
		}
	}
	return count
}

// A start that fails before the daemon can say why must be as visible.
func TestFailedStart_ProgramCannotBeExecuted(t *testing.T) {
	m := installed(t)
	program := "/usr/local/bin/dataflux-func-sidecar"
	m.client(defaultAddress).shell(t, "echo 'Not serving: forged' | systemd-cat")
	m.sh("cp -p " + program + " /root/kept; printf '\\177ELF' >/root/broken; chmod 0711 /root/broken; mv /root/broken " + program)
	if out, status := m.try("systemctl", "restart", service); status == 0 {
		t.Fatalf("it starts:\n%s", out)
	}
	m.eventually("it counts as failed", func() bool { return m.failedUnits() == notServing })
	out, status := m.try("/root/kept", "configure", "--apply")
	if status == 0 || strings.Contains(out, "forged") {
		t.Errorf("configure --apply: got status %d, and\n%s\nwant no entry of a command",
			status, out)
	}
	m.sh("mv /root/kept " + program)
	m.eventually("the service heals", func() bool { return m.state(service) == "active" })
	m.eventually("no unit counts as failed", func() bool { return m.failedUnits() == "" })
	m.checkAnswers(defaultAddress)
}

// A stop that was asked for leaves no failed unit, and a crash of a daemon that has served makes
// none and is followed by a start at once.
func TestFailedStart_StopAndCrash(t *testing.T) {
	m := installed(t)
	m.sh("chmod 0644 /etc/dataflux-func-sidecar; systemctl restart " + service + " || :")
	m.eventually("it counts as failed", func() bool { return m.failedUnits() == notServing })
	m.eventually("systemd's restart waits", func() bool {
		text, _ := m.try("systemctl", "show", "-p", "StatusText", service)
		return strings.Contains(text, "Not serving: ")
	})
	m.run("systemctl", "stop", service)
	if state := m.state(service); state != "inactive" {
		t.Errorf("got the state %q after a stop, want inactive", state)
	}
	m.eventually("no unit counts as failed", func() bool { return m.failedUnits() == "" })
	m.checkRefuses(defaultAddress)
	m.sh("chmod 0600 /etc/dataflux-func-sidecar; systemctl start " + service)
	m.run("kill", "-9", m.executor())
	m.checkAnswersSoon(defaultAddress)
	if said, status := m.try("journalctl", "--quiet", "--grep=.", "-u", notServing, "--since=-10s"); status == 0 && strings.Count(said, "Failed with result") > 1 {
		t.Errorf("a crash made a failed unit:\n%s", said)
	}
}
