package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
	"dataflux-func-sidecar/units"
)

const (
	service  = "dataflux-func-sidecar.service"
	socket   = "dataflux-func-sidecar.socket"
	ports    = "dataflux-func-sidecar-ports.service"
	metrics  = "dataflux-func-sidecar-metrics.socket"
	checkout = "/root/checkout"
)

// unitNames are all units of an installation.
var unitNames = units.Names()

// installed boots a machine with a first installation from a built checkout.
func installed(t *testing.T, args ...string) *machine {
	t.Helper()
	m := boot(t)
	m.placeCheckout()
	m.install(args...)
	t.Cleanup(m.checkAudit)
	return m
}

// checkAudit fails the test if an entry of the daemon about a job does not name the key.
func (m *machine) checkAudit() {
	entries, _ := m.try("sh", "-c", "journalctl --quiet -o json --output-fields=MESSAGE,SIDECAR_JOB_ID,SIDECAR_KEY"+
		" _UID=$(awk -F: '$1 == \"dffs-sidecar\" { print $3 }' /etc/passwd)")
	for entry := range strings.Lines(entries) {
		if strings.Contains(entry, `"SIDECAR_JOB_ID"`) && !strings.Contains(entry, `"SIDECAR_KEY"`) {
			m.t.Errorf("an entry about a job without its key: %s", entry)
		}
	}
}

// install runs install.sh of the checkout, which must succeed.
func (m *machine) install(args ...string) (output string) {
	m.t.Helper()
	return m.run(append([]string{checkout + "/install.sh"}, args...)...)
}

// tryInstall is install for a run that may fail.
func (m *machine) tryInstall(args ...string) (output string, status int) {
	return m.try(append([]string{checkout + "/install.sh"}, args...)...)
}

// placeCheckout copies a checkout after `make build`.
func (m *machine) placeCheckout() {
	m.t.Helper()
	m.place("../../install.sh", checkout+"/install.sh", 0o755)
	m.place("../../go.mod", checkout+"/go.mod", 0o644)
	m.placeParts(checkout+"/units", checkout+"/packaging/man")
	m.placeProgram(checkout + "/bin/dataflux-func-sidecar")
}

// placeRelease copies the folder of a download.
func (m *machine) placeRelease(folder string) {
	m.t.Helper()
	m.place("../../install.sh", folder+"/install.sh", 0o755)
	m.placeParts(folder, folder)
	m.placeProgram("/tmp/packing/dataflux-func-sidecar")
	m.run("tar", "-C", "/tmp/packing", "-czf", folder+"/dataflux-func-sidecar.tar.gz", "dataflux-func-sidecar")
	m.run("rm", "-r", "/tmp/packing")
}

func (m *machine) placeParts(to, man string) {
	m.t.Helper()
	for _, unit := range append(slices.Clone(unitNames), "dataflux-func-sidecar.catalog") {
		m.place("../../units/"+unit, to+"/"+unit, 0o644)
	}
	for _, page := range []string{"dataflux-func-sidecar.8", "dataflux-func-sidecar.5"} {
		m.place("../../packaging/man/"+page, man+"/"+page, 0o644)
	}
}

func (m *machine) placeProgram(to string) {
	m.t.Helper()
	m.place(testkit.Program(m.t), to, 0o755)
}

// place copies a file of this host into the machine.
func (m *machine) place(from, to string, mode os.FileMode) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.run("mkdir", "-p", filepath.Dir(to))
	if err := os.WriteFile(m.path(to), data, mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(m.path(to), mode); err != nil {
		m.t.Fatal(err)
	}
}

// write makes a file of the given text in the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	m.run("mkdir", "-p", filepath.Dir(path))
	if err := os.WriteFile(m.path(path), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// state returns the state of a unit in systemd's words: active, inactive, failed or a transition.
func (m *machine) state(unit string) string {
	state, _ := m.try("systemctl", "is-active", unit)
	return state
}

// executor returns the PID of the main process, which must run, network that of its child, both in
// the machine's PID namespace.
func (m *machine) executor() string {
	m.t.Helper()
	pid := m.mainPID()
	if pid == "0" { // `kill 0` would end the test itself
		m.t.Fatal("the service has no main process")
	}
	return pid
}

// mainPID is 0 while the service does not run.
func (m *machine) mainPID() string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "-p", "MainPID", service)
}

func (m *machine) network() string {
	pid, _ := m.try("pgrep", "-P", m.mainPID(), "-f", "dataflux-func-sidecar network")
	return pid
}
