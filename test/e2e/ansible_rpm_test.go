package e2e

import (
	"path/filepath"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// The role on a machine whose package manager is dnf: a package of this host, then one of a
// repository. No distribution with .rpm can be had here, so the machine is Debian without apt and
// with another name, with dnf, the presets of such distributions, and one package that provides what
// ours depends on.
func TestAnsible_RoleWithRPM(t *testing.T) {
	testkit.NeedTools(t, "ansible-playbook", "rpmbuild")
	if suite() == "trixie" || suite() == "sid" {
		t.Logf("the modules of Debian 12's Ansible do not know the Python of %s", suite())
		return
	}
	r := newRollOut(t, 1)
	m := r.machines[0]
	m.addTool("python3-dnf")
	m.addTool("dnf")
	m.placeRPM()
	m.place(baseRPM(t), "/srv/base.rpm", 0o644)
	m.sh("rm /usr/bin/apt /usr/bin/apt-get /etc/os-release; rpm --nodeps --install /srv/base.rpm")
	m.write("/etc/os-release", "ID=fedora\nNAME=Fedora\nVERSION_ID=41\n") // for Ansible
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[m.run("dpkg", "--print-architecture")]
	source := func(text string) []map[string]any { return []map[string]any{{"sidecar_package": text}} }
	this := source(packagePath(t, thesePackages, rpmName(thisVersion, arch)))
	next := source(packagePath(t, nextPackages, rpmName(nextVersion, arch)))

	r.write(this, with(nil))
	r.checkPrediction()
	r.run(true)
	m.checkServes()
	m.checkKey(deploySecret)
	m.checkEnabled()
	executor := m.executor()
	r.run(false)

	r.startJobs()
	r.write(next, with(nil))
	r.run(true)
	m.checkServesNext()
	if got := m.executor(); got != executor {
		t.Errorf("got executor %s, want %s as before: the role reloads", got, executor)
	}
	r.endJobs()
	r.checkAbsent(next)

	folder := newRepository(t)
	for _, file := range filesBelow(t, folder) {
		m.place(filepath.Join(folder, file), "/srv/repository/"+file, 0o644)
	}
	m.sh("mkdir -p /etc/yum.repos.d; cp /srv/repository/yum/*.repo /etc/yum.repos.d; rpm --import /srv/repository/*.asc")
	r.write(source(packageName), with(nil))
	r.run(true)
	m.checkServes()
	m.checkKey(deploySecret)
	r.run(false)
	r.checkAbsent(source(packageName))
}

func (m *machine) checkEnabled() {
	m.t.Helper()
	if enabled, _ := m.try("systemctl", "is-enabled", service); enabled != "enabled" {
		m.t.Errorf("%s is %s, want enabled, though the preset says disable", service, enabled)
	}
}
