package e2e

import (
	"strings"
	"testing"
)

// placePackage copies a package of this host into the machine.
func (m *machine) placePackage(folder func() (string, error), name string) (path string) {
	m.t.Helper()
	path = "/srv/" + name // the user of apt must be able to read it
	m.place(packagePath(m.t, folder, name), path, 0o644)
	return path
}

// placeDebs copies this version and the next, for the machine's architecture.
func (m *machine) placeDebs() (this, next string) {
	m.t.Helper()
	arch := m.run("dpkg", "--print-architecture")
	return m.placePackage(thesePackages, debName(thisVersion, arch)), m.placePackage(nextPackages, debName(nextVersion, arch))
}

// apt runs apt-get without questions.
func (m *machine) apt(args ...string) (output string) {
	m.t.Helper()
	return m.run(append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", "-o", "Dpkg::Use-Pty=0"}, args...)...)
}

// One machine for all steps from installation to purge, because each step starts from the state of
// the one before.
func TestDebianPackage_FromInstallationToPurge(t *testing.T) {
	m := boot(t)
	this, next := m.placeDebs()
	said := m.apt("install", this)
	key := m.secretKey()
	m.checkServes()
	m.checkPackageIsIn(key, said)
	m.checkNoMetrics()
	m.sh(switchOn)
	m.checkUpgradeUnderLoad(next)
	m.checkMetrics(metricsAddress)
	m.checkBrokenConfigurationStopsAnUpgrade(next)
	m.checkUpgradeMovesSocketsToANewBind(next)
	m.checkDisabledStaysDisabled(next)
	m.checkRemoveKeepsWhatIsTheUsers(key)
	m.apt("install", next)
	m.checkAnswers("127.0.0.1:8300")
	m.checkMetrics(metricsAddress) // a removal does not disable what the administrator has enabled
	if m.secretKey() != key {
		t.Error("another key after it was removed and installed again")
	}
	m.checkPurgeForgets()

	m.sh("userdel dffs; rm -rf /home/dffs; mount -t tmpfs -o ro tmpfs /home")
	said, status := m.try("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", "-o", "Dpkg::Use-Pty=0", "install", this)
	if _, missing := m.try("test", "-e", configFile); status == 0 || missing == 0 {
		t.Errorf("installed without a home directory: status %d", status)
	}
	m.sh(strings.ReplaceAll(textAfter(t, "another one: ", said), "sudo ", "") + "; dpkg --configure --pending")
	m.checkServes()
}

// checkPackageIsIn checks the files and users of an installation, and that the service answers.
func (m *machine) checkPackageIsIn(key, said string) {
	m.t.Helper()
	logs := m.sh("cat /var/log/apt/*.log /var/log/dpkg.log")
	if strings.Contains(said, key) || strings.Contains(logs, key) {
		m.t.Errorf("the key is where it does not belong:\n%s", said)
	}
	if !strings.Contains(said, "configure --print-summary") {
		m.t.Errorf("it does not say how to see the key:\n%s", said)
	}
	if said := m.run(append([]string{"systemd-analyze", "verify", "--man=no"}, unitNames...)...); said != "" {
		m.t.Errorf("systemd-analyze verify says:\n%s", said)
	}
	if said := m.run("dataflux-func-sidecar", "check"); strings.Contains(said, "install.sh") {
		m.t.Errorf("check says:\n%s", said)
	}
	if list := m.run("journalctl", "--list-catalog"); !strings.Contains(list, "DataFlux Func Sidecar") {
		m.t.Error("the journal has no catalog of ours")
	}
	for path, want := range map[string]string{
		"/usr/bin/dataflux-func-sidecar": "711 root root",
		"/etc/dataflux-func-sidecar":     "600 root root",
		"/var/lib/dataflux-func-sidecar": "700 root root",
	} {
		if got := m.run("stat", "-c", "%a %U %G", path); got != want {
			m.t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for user, want := range map[string]string{
		"dffs":         ":DataFlux Func Sidecar:/home/dffs:/usr/sbin/nologin",
		"dffs-sidecar": ":DataFlux Func Sidecar daemon:/nonexistent:/usr/sbin/nologin",
	} {
		if entry := m.run("getent", "passwd", user); !strings.HasSuffix(entry, want) {
			m.t.Errorf("%s is %s", user, entry)
		}
	}
}

func (m *machine) checkUpgradeUnderLoad(next string) {
	m.t.Helper()
	sockets, executor, configuration := m.listening(), m.executor(), m.run("cat", "/etc/dataflux-func-sidecar")
	l := m.startLoad(8)
	m.eventually("the load is on", func() bool { return l.answered.Load() > 50 })
	m.apt("install", next)
	before := l.answered.Load()
	m.eventually("it goes on", func() bool { return l.answered.Load() > before+50 })
	m.t.Logf("%d calls answered", l.stop(m.t))
	m.checkServesNext()
	if got := m.executor(); got != executor {
		m.t.Errorf("got executor %s, want %s as before: the upgrade is a reload", got, executor)
	}
	if after := m.listening(); after != sockets {
		m.t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
	if after := m.run("cat", "/etc/dataflux-func-sidecar"); after != configuration {
		m.t.Errorf("the configuration was\n%s\nand is\n%s", configuration, after)
	}
}

func (m *machine) checkServesNext() {
	m.t.Helper()
	if text := m.run("curl", "-sS", "http://"+defaultAddress); !strings.Contains(text, nextVersion) {
		m.t.Errorf("GET / says %q after the upgrade", text)
	}
}

// The upgrade fails with an invalid configuration. The running daemon is not restarted, and dpkg
// can complete the upgrade later.
func (m *machine) checkBrokenConfigurationStopsAnUpgrade(next string) {
	m.t.Helper()
	executor := m.executor()
	m.sh("cp -p /etc/dataflux-func-sidecar /root/good; echo 'NO_SUCH_KEY = 1' >> /etc/dataflux-func-sidecar")
	said, status := m.try("dpkg", "--install", next)
	if status == 0 || !strings.Contains(said, "this key or section is unknown") || !strings.Contains(said, "dpkg --configure") {
		m.t.Errorf("status %d:\n%s", status, said)
	}
	if m.executor() != executor {
		m.t.Error("the daemon was restarted")
	}
	m.sh("cp -p /root/good /etc/dataflux-func-sidecar; dpkg --configure " + packageName)
	m.checkAnswers(defaultAddress)
}

// BIND was changed without `configure`. The package runs it, and the sockets must then be new.
func (m *machine) checkUpgradeMovesSocketsToANewBind(next string) {
	m.t.Helper()
	m.sh(`sed -i 's/^BIND *=.*/BIND = "127.0.0.1:8300"/' /etc/dataflux-func-sidecar`)
	m.apt("install", "--reinstall", next)
	m.checkAnswers("127.0.0.1:8300")
	m.checkRefuses(defaultAddress)
}

func (m *machine) checkDisabledStaysDisabled(next string) {
	m.t.Helper()
	m.sh("systemctl disable --quiet " + service + "; systemctl stop " + service)
	m.apt("install", "--reinstall", next)
	for _, unit := range []string{service, socket} {
		if enabled, _ := m.try("systemctl", "is-enabled", unit); enabled != "disabled" || m.state(unit) != "inactive" {
			m.t.Errorf("%s is %s and %s after an upgrade, though it was stopped and disabled", unit, enabled, m.state(unit))
		}
	}
	m.sh("systemctl enable --quiet --now " + service)
	m.checkAnswers("127.0.0.1:8300")
}

func (m *machine) checkRemoveKeepsWhatIsTheUsers(key string) {
	m.t.Helper()
	m.apt("remove", packageName)
	m.checkRefuses("127.0.0.1:8300")
	for _, unit := range unitNames {
		if state := m.state(unit); state != "inactive" {
			m.t.Errorf("%s is %s after it was removed", unit, state)
		}
	}
	if m.secretKey() != key {
		m.t.Error("another key after it was removed")
	}
	if left := m.sh("find /usr -path '*dataflux-func-sidecar*'; test -d /var/lib/dataflux-func-sidecar; getent passwd dffs dffs-sidecar >/dev/null"); left != "" {
		m.t.Errorf("got remaining files, want none:\n%s", left)
	}
}

func (m *machine) checkPurgeForgets() {
	m.t.Helper()
	m.sh("mkfifo /etc/dataflux-func-sidecar.original; mkdir /etc/.dataflux-func-sidecar.123.tmp")
	m.apt("purge", packageName)
	left := m.sh(`find / -xdev -name '*dataflux-func-sidecar*' ! -path '/srv/*' ! -path '/proc/*' ! -path '/var/log/*' ! -path '/sys/*'`)
	if left != "" {
		m.t.Errorf("got remaining files, want none:\n%s", left)
	}
	m.run("getent", "passwd", "dffs") // otherwise another user could get its uid
	if left, _ := m.try("getent", "passwd", "dffs-sidecar"); left != "" {
		m.t.Errorf("the daemon's user is still there: %s", left)
	}
	if reloaded := m.run("systemctl", "show", "-p", "LoadState", service); reloaded != "LoadState=not-found" {
		m.t.Errorf("systemd still knows the service: %s", reloaded)
	}
}

// The package is installed in a chroot, as in an image. Then the machine boots.
func TestDebianPackage_InAnImage(t *testing.T) {
	m := boot(t)
	this, _ := m.placeDebs()
	said := m.sh("mkdir /srv/image; mount --bind / /srv/image; mkdir /srv/image/tmp/empty; cp " + this + " /srv/image/root/x.deb; chroot /srv/image dpkg --install /root/x.deb; umount /srv/image")
	if !strings.Contains(said, "first start generates the key") {
		t.Errorf("it says\n%s", said)
	}
	if state := m.state(service); state != "inactive" {
		t.Errorf("the service is %s", state)
	}
	if _, status := m.try("test", "-e", "/etc/dataflux-func-sidecar"); status == 0 {
		t.Error("there is a key in the image")
	}
	m.reboot()
	m.checkServes()
	m.sh("dataflux-func-sidecar check")
	m.run("systemctl", "preset-all", "--preset-mode=enable-only") // as a first boot without /etc/machine-id does
	if enabled, _ := m.try("systemctl", "is-enabled", metrics); enabled != "disabled" {
		t.Errorf("a first boot makes that %s of %s", enabled, metrics)
	}

	m.sh("rm /etc/dataflux-func-sidecar; systemctl restart " + service + " || true")
	m.awaitEntry("create it with dataflux-func-sidecar configure")
	if _, status := m.try("test", "-e", "/etc/dataflux-func-sidecar"); status == 0 {
		t.Error("there is a new key")
	}
	m.checkAddsAKeyAtItsFirstStart()
	m.sh("systemctl stop " + service + "; dpkg --purge " + packageName)
	m.checkPolicyIsAsked(this)
}

// checkAddsAKeyAtItsFirstStart has settings without a key, as an image or cloud-init writes them.
func (m *machine) checkAddsAKeyAtItsFirstStart() {
	m.t.Helper()
	m.sh("systemctl stop " + service + "; rm -r /var/lib/dataflux-func-sidecar; echo 'NO_SUCH_KEY = 1' > " + configFile +
		"; chmod 0600 " + configFile + "; systemctl start " + service + " || true")
	m.awaitEntry("this key or section is unknown") // the reason of the daemon
	m.sh("echo 'BIND = \"127.0.0.1:8300\"' > " + configFile + "; rm -rf /var/lib/dataflux-func-sidecar; systemctl restart " + service)
	m.checkAnswers("127.0.0.1:8300")
	m.checkRefuses(defaultAddress)
}

func (m *machine) checkPolicyIsAsked(this string) {
	m.t.Helper()
	m.sh(`printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d`)
	m.run("dpkg", "--install", this)
	if state := m.state(service); state != "inactive" {
		m.t.Errorf("the service is %s, though policy-rc.d forbade it", state)
	}
	if enabled, _ := m.try("systemctl", "is-enabled", service); enabled != "enabled" {
		m.t.Errorf("the service is %s", enabled)
	}
	m.sh("rm /usr/sbin/policy-rc.d; systemctl start " + service)
	m.checkServes()
}
