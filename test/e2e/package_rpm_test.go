package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addTool installs a package of Debian that the tree lacks.
func (m *machine) addTool(name string) {
	m.t.Helper()
	folder := filepath.Join(cacheFolder(), name+"-for-"+suite())
	if err := runHere("sh", "package_tool.sh", folder, treePath(), name); err != nil {
		m.t.Fatal(err)
	}
	debs, err := os.ReadDir(folder)
	if err != nil || len(debs) == 0 {
		m.t.Fatalf("no packages in %s: %v", folder, err)
	}
	for _, deb := range debs {
		m.place(filepath.Join(folder, deb.Name()), "/srv/tool/"+deb.Name(), 0o644)
	}
	m.sh("DEBIAN_FRONTEND=noninteractive dpkg --install /srv/tool/*.deb; rm -r /srv/tool")
}

// placeRPM gives the machine rpm, packages of this version and the next, and the preset of
// distributions that use rpm: no service starts before an administrator enables it. The database of
// rpm has no other package than ours, so dependencies are not checked; the scripts run as on other
// systems.
func (m *machine) placeRPM() (this, next string) {
	m.t.Helper()
	m.addTool("rpm")
	m.write("/etc/systemd/system-preset/50-nothing.preset", "disable *\n")
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[m.run("dpkg", "--print-architecture")]
	return m.placePackage(thesePackages, rpmName(thisVersion, arch)), m.placePackage(nextPackages, rpmName(nextVersion, arch))
}

func (m *machine) rpm(args ...string) (output string) {
	m.t.Helper()
	return m.run(append([]string{"rpm", "--nodeps"}, args...)...)
}

func TestRPMPackage_FromInstallationToRemoval(t *testing.T) {
	needMachines(t)
	m := boot(t)
	this, next := m.placeRPM()

	said := m.rpm("--install", this)
	m.checkInstalledAndLeftToPresets(said)
	m.run("systemctl", "enable", "--quiet", "--now", service)
	m.checkServes()
	m.checkRPMUpgradeUnderLoad(next)
	m.checkRPMErase()

	m.placeCheckout()
	m.install()
	m.checkTakesOverFromInstallSh(func() string { return m.rpm("--install", next) })
	for _, unit := range []string{service, socket} {
		if enabled, _ := m.try("systemctl", "is-enabled", unit); enabled != "enabled" {
			t.Errorf("%s was enabled by install.sh and is %s", unit, enabled)
		}
	}
	if output, status := m.tryInstall(); status == 0 || !strings.Contains(output, "dnf") {
		t.Errorf("install.sh over the package: status %d\n%s", status, output)
	}
	m.checkRPMErase()
	m.checkRPMInAnImage(next)
}

func (m *machine) checkInstalledAndLeftToPresets(said string) {
	m.t.Helper()
	if strings.Contains(said, m.secretKey()) || !strings.Contains(said, "configure --print-summary") {
		m.t.Errorf("it says\n%s", said)
	}
	for _, unit := range []string{service, socket} {
		if enabled, _ := m.try("systemctl", "is-enabled", unit); enabled != "disabled" || m.state(unit) != "inactive" {
			m.t.Errorf("%s is %s and %s, though the preset says disable", unit, enabled, m.state(unit))
		}
	}
	if changed, status := m.try("rpm", "--verify", "--nodeps", packageName); status != 0 {
		m.t.Errorf("what was installed differs from the package:\n%s", changed)
	}
	if entry := m.run("getent", "passwd", "dffs-sidecar"); !strings.HasSuffix(entry, ":/nonexistent:/usr/sbin/nologin") {
		m.t.Errorf("dffs-sidecar is %s", entry)
	}
	if list := m.run("journalctl", "--list-catalog"); !strings.Contains(list, "DataFlux Func Sidecar") {
		m.t.Error("the journal has no catalog of ours")
	}
}

func (m *machine) checkRPMUpgradeUnderLoad(next string) {
	m.t.Helper()
	sockets, executor, key := m.listening(), m.executor(), m.secretKey()
	l := m.startLoad(4)
	m.eventually("the load is on", func() bool { return l.answered.Load() > 50 })
	m.rpm("--upgrade", next)
	before := l.answered.Load()
	m.eventually("it goes on", func() bool { return l.answered.Load() > before+50 })
	m.t.Logf("%d calls answered", l.stop(m.t))
	m.checkServesNext()
	if m.listening() != sockets || m.executor() != executor || m.secretKey() != key {
		m.t.Errorf("sockets %s, then %s; executor %s, then %s", sockets, m.listening(), executor, m.executor())
	}
}

// checkRPMErase checks that configuration, state and user stay, because rpm has no purge.
func (m *machine) checkRPMErase() {
	m.t.Helper()
	key := m.secretKey()
	m.rpm("--erase", packageName)
	m.checkRefuses(defaultAddress)
	left := m.sh("find /usr /etc/systemd/system ! -path '*.socket.d*' -path '*dataflux-func-sidecar*'")
	if left != "" || m.secretKey() != key {
		m.t.Errorf("got remaining files, want none:\n%s", left)
	}
	if state, _ := m.try("systemctl", "show", "--value", "-p", "LoadState", service); state != "not-found" {
		m.t.Errorf("systemd still knows the service: %s", state)
	}
}

func (m *machine) checkRPMInAnImage(rpm string) {
	m.t.Helper()
	m.sh("rm -r /etc/dataflux-func-sidecar /var/lib/dataflux-func-sidecar /etc/systemd/system/*.socket.d; mkdir /srv/image; mount --bind / /srv/image")
	if said := m.run("chroot", "/srv/image", "rpm", "--nodeps", "--install", rpm); !strings.Contains(said, "first start generates the key") {
		m.t.Errorf("it says\n%s", said)
	}
	m.sh("umount /srv/image; ! test -e /etc/dataflux-func-sidecar; systemctl daemon-reload; systemctl start " + service)
	m.checkAnswers(defaultAddress)
}
