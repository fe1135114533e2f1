package e2e

import (
	"strings"
	"testing"
)

func TestDebianPackage_TakesOver(t *testing.T) {
	m := boot(t)
	this, next := m.placeDebs()
	m.placeOriginal()
	user := m.run("getent", "passwd", "dffs")
	said := m.apt("install", this)
	m.checkTakenOver(said, user)
	m.checkStillTheOriginals(m.clientWithKey(originalKey), user)
	m.checkOriginalIsKept(said)

	m.apt("purge", packageName)
	m.placeCheckout()
	m.install()
	m.checkTakesOverFromInstallSh(func() string { return m.apt("install", next) })
	if output, status := m.tryInstall(); status == 0 || !strings.Contains(output, "apt") {
		t.Errorf("install.sh over the package: status %d\n%s", status, output)
	}

	m.apt("remove", packageName)
	m.install()
	m.apt("install", next)
	m.checkUnitsAreThePackages()
	m.run("systemctl", "is-enabled", "--quiet", service, socket)

	m.apt("remove", packageName)
	m.install()
	configuration := m.run("cat", "/etc/dataflux-func-sidecar")
	m.apt("purge", packageName) // the files belong to install.sh now
	if after := m.run("cat", "/etc/dataflux-func-sidecar"); after != configuration {
		t.Errorf("a purge of the removed package changed the configuration of install.sh:\n%s", after)
	}
	m.sh("systemctl daemon-reload; systemctl restart " + service)
	m.checkServes()
}

func (m *machine) checkOriginalIsKept(said string) {
	m.t.Helper()
	for kept, want := range map[string]string{
		"/usr/local/bin/dataflux-func-sidecar.bak": "#!/usr/bin/",
		"/etc/systemd/system/" + service + ".bak":  originalUnit,
	} {
		if text := m.run("cat", kept) + "\n"; !strings.HasPrefix(text, want) || !strings.Contains(said, kept) {
			m.t.Errorf("%s holds\n%s\nand it says\n%s", kept, text, said)
		}
	}
	m.checkUnitsAreThePackages()
}

func (m *machine) checkUnitsAreThePackages() {
	m.t.Helper()
	for _, unit := range unitNames {
		if path := m.run("systemctl", "show", "--value", "-p", "FragmentPath", unit); !strings.HasSuffix("/usr"+strings.TrimPrefix(path, "/usr"), "/usr/lib/systemd/system/"+unit) {
			m.t.Errorf("%s is at %s", unit, path)
		}
	}
	if program := m.run("sh", "-c", "command -v dataflux-func-sidecar"); program != "/usr/bin/dataflux-func-sidecar" {
		m.t.Errorf("the program is %s", program)
	}
}

// checkTakesOverFromInstallSh installs the package of the next version over a running installation.
func (m *machine) checkTakesOverFromInstallSh(install func() string) {
	m.t.Helper()
	m.sh(switchOn)
	sockets, configuration := m.listening(), m.run("cat", "/etc/dataflux-func-sidecar")
	const look = `getent passwd dffs; stat -c '%a %U %G' "$(getent passwd dffs | cut -d: -f6)"`
	user := m.sh(look)
	l := m.startLoad(4)
	m.eventually("the load is on", func() bool { return l.answered.Load() > 50 })
	said := install()
	before := l.answered.Load()
	m.eventually("it goes on", func() bool { return l.answered.Load() > before+50 })
	l.stop(m.t)
	if after := m.listening(); after != sockets {
		m.t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
	if after := m.run("cat", "/etc/dataflux-func-sidecar"); after != configuration {
		m.t.Errorf("the configuration was\n%s\nand is\n%s", configuration, after)
	}
	if after := m.sh(look); after != user {
		m.t.Errorf("dffs was\n%s\nand is\n%s", user, after)
	}
	m.checkServesNext()
	m.checkUnitsAreThePackages()
	m.checkMetrics(metricsAddress)
	m.sh("systemctl is-enabled --quiet " + metrics + " && test -e /etc/systemd/system/" + service + ".wants/" + metrics)
	if left := m.sh("find /usr/local /etc/systemd/system -name '*dataflux-func-sidecar*' -type f"); left != "" || !strings.Contains(said, "took over from install.sh") {
		m.t.Errorf("got remaining files, want none: %s\n%s", left, said)
	}
}

// install.sh, the packages and sysusers.conf, for hosts that create their users at each boot,
// create the same users.
func TestPackages_UsersAsInstallShMakesThem(t *testing.T) {
	m := boot(t)
	this, _ := m.placeDebs()
	m.placeCheckout()
	look := "getent passwd dffs dffs-sidecar | cut -d: -f1,2,5-; getent group dffs dffs-sidecar | cut -d: -f1; stat -c '%a %U %G' /home/dffs; ls -A /home/dffs"
	m.install()
	byScript := m.sh(look)
	m.sh(checkout + "/install.sh --uninstall --purge")
	m.apt("install", this)
	if byPackage := m.sh(look); byPackage != byScript {
		t.Errorf("install.sh makes\n%s\nthe package\n%s", byScript, byPackage)
	}
	m.sh("systemctl stop " + service + "; userdel dffs; userdel dffs-sidecar; systemd-sysusers")
	if declared := m.sh(look); declared != byScript {
		t.Errorf("install.sh makes\n%s\nsysusers.d\n%s", byScript, declared)
	}
}
