package e2e

import (
	"strings"
	"testing"
)

func TestInstall_KeepsTheUnitOfTheOriginal(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.placeOriginal()
	for range 2 { // the second run replaces our own unit and keeps no backup of it
		m.install()
		if kept := m.run("cat", "/etc/systemd/system/"+service+".bak"); kept+"\n" != originalUnit {
			t.Errorf("its unit was kept as\n%s", kept)
		}
	}
	if loaded := m.run("systemctl", "list-unit-files", "--no-legend", "dataflux*"); strings.Contains(loaded, "bak") {
		t.Errorf("systemd loads what was kept:\n%s", loaded)
	}
}

// The Debian trees lack SELinux and the firewalls, which would also need support by the kernel.
// Programs of the same names record their calls, and answer as the real ones do.
func TestInstall_ContextsAndFirewalls(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	for name, script := range map[string]string{
		"restorecon":   `echo "$@" >>/root/called`,
		"ufw":          `[ "$*" = status ] || echo "ufw $*" >>/root/called; echo "Status: active"`,
		"firewall-cmd": `[ "$*" = --state ] || echo "firewall-cmd $*" >>/root/called`,
	} {
		m.write("/usr/local/sbin/"+name, "#!/bin/sh\n"+script+"\n")
		m.run("chmod", "+x", "/usr/local/sbin/"+name)
	}
	output := m.install("--bind", "127.0.0.1:8099,[::1]:8099,/run/x.sock")
	if strings.Contains(output, "ufw") || strings.Contains(output, "firewall") {
		t.Errorf("loopback needs no firewall opened:\n%s", output)
	}
	called := m.run("cat", "/root/called")
	for _, path := range []string{
		"/usr/local/bin/dataflux-func-sidecar", "/etc/dataflux-func-sidecar", "/etc/systemd/system/" + service, "/etc/systemd/system/" + socket,
		"/etc/systemd/system/" + socket + ".d", "/usr/lib/systemd/catalog/dataflux-func-sidecar.catalog", "/usr/local/share/man/man5/dataflux-func-sidecar.5",
	} {
		if !strings.Contains(called+"\n", "-R "+path+"\n") {
			t.Errorf("no context restored for %s:\n%s", path, called)
		}
	}

	output = m.install("--bind", "127.0.0.1:8099,172.17.0.1:8100")
	wantSaid(t, output, "sudo ufw allow in on docker0 to any port 8100 proto tcp")
	if strings.Contains(output, "firewalld") {
		t.Errorf("firewalld lets Docker's zone in:\n%s", output)
	}
	output = m.install("--bind", "0.0.0.0:8101,[::]:8102")
	wantSaid(t, output, "sudo ufw allow 8101/tcp", "sudo ufw allow 8102/tcp", "--add-port=8101/tcp && sudo firewall-cmd --reload", "--add-port=8102/tcp")
	if called := m.run("cat", "/root/called"); strings.Contains(called, "ufw") || strings.Contains(called, "firewall-cmd") {
		t.Errorf("a firewall was changed:\n%s", called)
	}
	m.sh(`printf '#!/bin/sh\necho Status: inactive\n' >/usr/local/sbin/ufw; printf '#!/bin/sh\nexit 252\n' >/usr/local/sbin/firewall-cmd`)
	if output := m.install(); strings.Contains(output, "ufw") || strings.Contains(output, "firewalld") {
		t.Errorf("inactive firewalls are told of:\n%s", output)
	}
}

func wantSaid(t *testing.T, output string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(output, part) {
			t.Errorf("it does not say %q:\n%s", part, output)
		}
	}
}
