package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestInstall_BindAndItsChange(t *testing.T) {
	const key = "given-key-0123456789abcdef"
	m := boot(t)
	m.placeCheckout()
	output := m.install("--bind", "127.0.0.1:8200,[::1]:8200", "--secret-key", key)
	if want := block("127.0.0.1:8200,[::1]:8200", key); !strings.Contains(output, want+"\n") {
		t.Errorf("the output ends otherwise:\n%s", output)
	}
	m.checkAnswers("127.0.0.1:8200", "[::1]:8200")
	m.checkRefuses("127.0.0.1:8099")

	m.install("--bind=127.0.0.1:8201")
	m.checkAnswers("127.0.0.1:8201")
	m.checkRefuses("127.0.0.1:8200", "[::1]:8200")
	if m.secretKey() != key {
		t.Error("another --bind changed the key")
	}

	m.install("--secret-key=another-key-0123456789abcdef")
	m.checkAnswers("127.0.0.1:8201")
	if got := m.secretKey(); got != "another-key-0123456789abcdef" {
		t.Errorf("the key is %s", got)
	}
}

func TestInstall_UnixSocket(t *testing.T) {
	m := installed(t, "--bind", "/run/sidecar.sock,127.0.0.1:8099")
	m.checkAnswers("/run/sidecar.sock", "127.0.0.1:8099")
	m.run("systemctl", "stop", service)
	m.eventually("the socket file is gone", func() bool { // the sockets stop a moment after the service
		_, status := m.try("test", "-e", "/run/sidecar.sock")
		return status != 0
	})
	m.run("systemctl", "start", service)
	m.checkAnswers("/run/sidecar.sock")
}

// checkAnswers runs a signed command over each address.
func (m *machine) checkAnswers(addresses ...string) {
	m.t.Helper()
	for _, address := range addresses {
		if user := m.client(address).shell(m.t, "id -un"); user != "dffs" {
			m.t.Errorf("%s: id -un printed %q", address, user)
		}
	}
}

// checkRefuses waits, because systemd closes the ports some milliseconds after `systemctl stop` has
// returned.
func (m *machine) checkRefuses(addresses ...string) {
	m.t.Helper()
	for _, address := range addresses {
		c := m.client(address)
		m.eventually(address+" is closed", func() bool {
			_, _, err := c.get("/")
			return err != nil && strings.Contains(err.Error(), "connection refused")
		})
	}
}

// snapshot lists all files that an installation may change, with contents and modes.
func (m *machine) snapshot() string {
	m.t.Helper()
	return m.sh(`touched="/etc /usr/local /usr/lib/systemd/catalog /home /var/lib/dataflux-func-sidecar /var/lib/systemd/catalog"
		find $touched -type f ! -name nonces.mark -exec cksum {} + 2>/dev/null || true # a running daemon writes that one
		find $touched -printf '%p %y %m %u %g %l\n' 2>/dev/null || true
		find /run -name '*dataflux*'`)
}

func TestInstall_BadBind(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	before := m.snapshot()
	for bind, said := range map[string]string{
		"0.0.0.0.8099":                 "must be an IP address with a port", // the typing error of the manual
		"127.0.0.1:99999":              "65535",
		"":                             "--bind",
		"127.0.0.1:8099,relative.sock": "address 2 of 2",
	} {
		output, status := m.tryInstall("--bind", bind)
		if status == 0 || !strings.Contains(output, said) {
			t.Errorf("--bind %q: status %d, not saying %q:\n%s", bind, status, said, output)
		}
	}
	if after := m.snapshot(); after != before {
		t.Errorf("refused, yet it was\n%s\nand is\n%s", before, after)
	}
}

func TestInstall_BadBindWhileTheServiceRuns(t *testing.T) {
	m := installed(t)
	before, executor := m.snapshot(), m.executor()
	if output, status := m.tryInstall("--bind=0.0.0.0.8099"); status == 0 {
		t.Errorf("accepted:\n%s", output)
	}
	if after := m.snapshot(); after != before || m.executor() != executor {
		t.Error("a refused installation touched what was there")
	}
}

func TestInstall_UnknownArguments(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	before := m.snapshot()
	for said, args := range map[string][]string{
		"unknown argument: --bnd":    {"--bnd", "127.0.0.1:8099"},
		"unknown argument: now":      {"now"},
		"--bind needs a value":       {"--bind"},
		"--secret-key needs a value": {"--bind", "127.0.0.1:8099", "--secret-key"},
	} {
		output, status := m.tryInstall(args...)
		if status != 2 || !strings.Contains(output, said) || !strings.Contains(output, "Usage:") {
			t.Errorf("%q: status %d\n%s", args, status, output)
		}
	}
	if output, status := m.tryInstall("--help"); status != 0 || !strings.Contains(output, "--secret-key KEY") {
		t.Errorf("--help: status %d\n%s", status, output)
	}
	if after := m.snapshot(); after != before {
		t.Error("a refused installation touched something")
	}
}

func TestInstall_NeedsRootAndSystemd(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("cp -r " + checkout + " /tmp/checkout; chmod -R a+rX /tmp/checkout")
	if output, status := m.try("setpriv", "--reuid=nobody", "--clear-groups", "/tmp/checkout/install.sh"); status != 1 ||
		!strings.Contains(output, "sudo") {
		t.Errorf("not root: status %d\n%s", status, output)
	}
	hidden := "mount -t tmpfs none /run/systemd && exec " + checkout + "/install.sh"
	if output, status := m.try("unshare", "--mount", "sh", "-c", hidden); status != 1 ||
		!strings.Contains(output, "serve --bind") {
		t.Errorf("no systemd: status %d\n%s", status, output)
	}
	m.run("rm", "-r", checkout+"/bin")
	if output, status := m.tryInstall(); status != 1 || !strings.Contains(output, "no program in the folder of install.sh") {
		t.Errorf("no program: status %d\n%s", status, output)
	}
	m.sh("printf '#!/bin/sh\\n' > /usr/bin/go; chmod +x /usr/bin/go")
	if output, status := m.tryInstall(); status != 1 || !strings.Contains(output, "make build") {
		t.Errorf("not built: status %d\n%s", status, output)
	}
}

func TestInstall_AfterAnInterruptedOne(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	for _, seconds := range []string{"0.02", "0.05", "0.1", "0.2", "0.4", "0.8"} {
		_, _ = m.try("timeout", "--signal=TERM", seconds, checkout+"/install.sh", "--bind", "127.0.0.1:8099")
	}
	m.install("--bind", "127.0.0.1:8200")
	m.checkAnswers("127.0.0.1:8200")
	m.checkRefuses("127.0.0.1:8099")
	m.interruptOnceWritten("127.0.0.1:8201")
	m.install()
	m.checkAnswers("127.0.0.1:8201")
	m.checkRefuses("127.0.0.1:8200")
	if left := m.sh("find /usr/local/bin /etc/systemd/system /run -name 'dataflux*.new' -o -name '*in-force'"); left != "" {
		t.Errorf("got remaining files, want none: %s", left)
	}
}

// interruptOnceWritten kills installations later and later, until one has written the new address.
// Then the configuration differs from the sockets.
func (m *machine) interruptOnceWritten(bind string) {
	m.t.Helper()
	for hundredths := 2; hundredths < 300; hundredths += 2 {
		seconds := fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100)
		_, _ = m.try("timeout", "--signal=KILL", seconds, checkout+"/install.sh", "--bind", bind)
		if _, status := m.try("grep", "-q", bind, "/etc/dataflux-func-sidecar"); status == 0 {
			return
		}
	}
	m.t.Fatal("no interrupted installation came as far as the configuration")
}
