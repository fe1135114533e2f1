package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// killer is read by bash before a script. It counts the commands that bash runs, writes the count
// to a file, and kills the script with SIGKILL before command KILL_AT.
const killer = `set -T
trap 'STEP=$((${STEP:-0} + 1)); echo "$STEP" >/run/step; [ "$STEP" -lt "$KILL_AT" ] || kill -9 $$' DEBUG
`

// killedAt runs install.sh up to the given command. Its children may live a moment longer.
func (m *machine) killedAt(step int, args ...string) (killed bool) {
	m.t.Helper()
	m.write("/root/killer", killer)
	_, status := m.try(append([]string{"env", "BASH_ENV=/root/killer", fmt.Sprintf("KILL_AT=%d", step), "bash", checkout + "/install.sh"}, args...)...)
	return status != 0
}

// steps returns the number of commands of a complete run.
func (m *machine) steps(args ...string) int {
	m.t.Helper()
	if m.killedAt(1<<30, args...) {
		m.t.Fatalf("install.sh %s fails under bash", args)
	}
	steps, err := strconv.Atoi(m.run("cat", "/run/step"))
	if err != nil || steps < 20 {
		m.t.Fatalf("%d steps: %v", steps, err)
	}
	return steps
}

// points returns count steps, spread over all steps, each at random within its share.
func points(steps, count int) []int {
	var at []int
	for i := range count {
		at = append(at, 1+steps*i/count+rand.IntN(steps/count))
	}
	return at
}

// pointCount returns the number of killed runs in each test: a few by default, or
// SIDECAR_INSTALL_KILLS.
func pointCount() int {
	if n, err := strconv.Atoi(os.Getenv("SIDECAR_INSTALL_KILLS")); err == nil {
		return n
	}
	return 8
}

// installedState returns everything that an installation leaves, except for details that differ
// between installations.
func (m *machine) installedState() string {
	m.t.Helper()
	return m.remains() + m.sh(`
		find /etc/systemd/system /usr/local /usr/lib/systemd/catalog /etc/dataflux* -type f -exec cksum {} +
		find /etc/systemd/system /usr/local /usr/lib/systemd/catalog /etc/dataflux* -printf '%p %y %m %u %g %l\n'
		stat -c '%n %a %U %G' /var/lib/dataflux-func-sidecar
		stat -c '%n %a %U %G' /home/dffs`)
}

func TestInstall_KilledAtAnyStep(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	args := []string{"--bind", "127.0.0.1:8099,127.0.0.1:8200", "--secret-key", givenKey}
	m.run("mkdir", "-p", "/usr/local/share/man/man5", "/usr/local/share/man/man8")
	bare := m.remains()
	steps := m.steps(args...)
	clean := m.installedState()
	for _, at := range points(steps, pointCount()) {
		m.uninstall("--purge")
		if changed := difference(bare, m.remains()); changed != "" {
			t.Fatalf("the machine is not bare again:\n%s", changed)
		}
		if !m.killedAt(at, args...) {
			t.Fatalf("step %d of %d was not reached", at, steps)
		}
		m.install(args...)
		if changed := difference(clean, m.installedState()); changed != "" {
			t.Errorf("killed at step %d of %d, then repeated, it differs:\n%s", at, steps, changed)
		}
		m.checkAnswers("127.0.0.1:8099", "127.0.0.1:8200")
	}
}

func TestInstall_ChangeKilledAtAnyStep(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8300", "--secret-key", givenKey)
	before, next := "127.0.0.1:8300", "127.0.0.1:8301"
	steps := m.steps("--bind", before)
	for _, at := range points(steps, pointCount()) {
		if !m.killedAt(at, "--bind", next) {
			t.Fatalf("step %d of %d was not reached", at, steps)
		}
		m.install() // with the configuration of that moment, old or new
		bind := m.bind()
		if bind != before && bind != next {
			t.Fatalf("killed at step %d: BIND is %s", at, bind)
		}
		m.checkAnswers(bind)
		m.install("--bind", next)
		m.checkAnswers(next)
		m.checkRefuses(before)
		before, next = next, before
	}
}

func TestUninstall_KilledAtAnyStep(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.run("mkdir", "-p", "/usr/local/share/man/man5", "/usr/local/share/man/man8")
	bare := m.remains()
	m.install()
	steps := m.steps("--uninstall", "--purge")
	for _, at := range points(steps, pointCount()) {
		m.install()
		if !m.killedAt(at, "--uninstall", "--purge") {
			t.Fatalf("step %d of %d was not reached", at, steps)
		}
		m.uninstall("--purge")
		if changed := difference(bare, m.remains()); changed != "" {
			t.Errorf("killed at step %d of %d, then repeated, it is not bare:\n%s", at, steps, changed)
		}
	}
}

func (m *machine) bind() string {
	m.t.Helper()
	_, bind, _ := strings.Cut(m.run("grep", "^BIND", "/etc/dataflux-func-sidecar"), "=")
	return strings.Trim(bind, " \"")
}
