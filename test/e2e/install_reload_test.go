package e2e

import (
	"strings"
	"testing"

	"dataflux-func-sidecar/units"
)

// touched lists the files of an installation with inodes and times of change. The state is left
// out: a running daemon writes it. So is the unit that reloads, which has not run: a daemon-reload
// gives such a unit a time of change.
func (m *machine) touched() string {
	m.t.Helper()
	return m.sh(`find /etc /usr/local /usr/lib/systemd /var/lib/systemd/catalog /home /run -xdev ! -type d \
			! -path '/run/systemd/*' ! -path '/run/udev/*' ! -path '/run/log/*' ! -path '/run/lock/*' -printf '%p %i %m %U %G %C@\n'
		find /etc /usr/local /usr/lib/systemd /var/lib/systemd/catalog /home -type d -printf '%p %i %m %U %G %C@\n'
		systemctl show -p ExecMainStartTimestampMonotonic,NRestarts,InvocationID,StateChangeTimestampMonotonic ` +
		strings.Join([]string{service, socket, ports, metrics, units.ReloadPath}, " "))
}

// entries returns all that the journal has of the units, and of systemd about them.
func (m *machine) entries() string {
	m.t.Helper()
	return m.run("journalctl", "--quiet", "-o", "short-monotonic", "-u", service, "-u", socket)
}

func TestInstall_NothingToChange(t *testing.T) {
	m := installed(t)
	for _, after := range []string{"an installation", "another"} {
		before, entries := m.touched(), m.entries()
		output := m.install()
		wantSaid(t, output, "Nothing to change: dataflux-func-sidecar 1.0.0 (released 2026-11-23", "have fun!")
		if changed := difference(before, m.touched()); changed != "" {
			t.Errorf("after %s it touched\n%s\nand said\n%s", after, changed, output)
		}
		if changed := difference(entries, m.entries()); changed != "" {
			t.Errorf("after %s the service did\n%s", after, changed)
		}
	}
	m.checkAnswers(defaultAddress)

	// A file that differs is written, and no other.
	before := m.touched()
	m.sh("echo >> /usr/local/share/man/man8/dataflux-func-sidecar.8")
	wantSaid(t, m.install(), "Wrote /usr/local/share/man/man8/dataflux-func-sidecar.8.")
	for line := range strings.Lines(difference(before, m.touched())) {
		if !strings.Contains(line, "/man8") && !strings.Contains(line, "catalog") {
			t.Errorf("it also touched %s", line)
		}
	}
}

// What an argument or a hand changes is reloaded. Commands go on, and the next run changes nothing.
func TestInstall_ReloadsAChange(t *testing.T) {
	m := installed(t)
	executor := m.executor()
	c := m.client(defaultAddress)
	waiting := c.inBackground(map[string]any{"command": "touch /tmp/runs; until [ -e /tmp/go ]; do sleep 0.1; done; echo end"})
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/runs"); return status == 0 })

	output := m.install("--secret-key", givenKey)
	wantSaid(t, output, "Reloaded")
	m.checkAnswers(defaultAddress) // with the new key
	if status, _, err := c.post(map[string]any{"command": "true"}); err != nil || status != 401 {
		t.Errorf("the former key is answered with status %d, %v, want 401", status, err)
	}
	wantSaid(t, m.install(), "Nothing to change")

	m.sh(`echo 'ENVIRONMENT = { COLOUR = "blue" }' >> ` + configFile)
	wantSaid(t, m.install(), "Reloaded")
	if got := m.client(defaultAddress).shell(t, "echo $COLOUR"); got != "blue" {
		t.Errorf("got COLOUR %q after the change of the configuration, want blue", got)
	}
	wantSaid(t, m.install(), "Nothing to change")

	m.run("touch", "/tmp/go")
	if got := <-waiting; got.err != nil || got.answer.Data == nil || got.answer.Data.Stdout != "end\n" {
		t.Errorf("the caller got %+v, %v, want end", got.answer, got.err)
	}
	if m.executor() != executor {
		t.Errorf("got executor %s, want %s as before", m.executor(), executor)
	}
}

// crashing is a program that is refused by the running daemon. It stands for every refusal: the
// daemon's own are tested in test/system.
const crashing = `#!/bin/sh
case $1 in
reload) echo 'error: cannot reload: the new program crashes' >&2; exit 1 ;;
*) exec /root/real "$@" ;;
esac
`

func TestInstall_RefusedReload(t *testing.T) {
	m := installed(t)
	m.sh("cp -r " + checkout + " /root/crashing; cp " + checkout + "/bin/dataflux-func-sidecar /root/real; chmod 0755 /root/real")
	m.write("/root/crashing/bin/dataflux-func-sidecar", crashing)
	m.sh("echo '# changed' >> /root/crashing/units/" + service)
	before, executor := m.snapshot(), m.executor()

	output, status := m.try("/root/crashing/install.sh", "--secret-key", givenKey)

	if status != 1 {
		t.Errorf("got status %d, want 1\n%s", status, output)
	}
	wantSaid(t, output, "error: cannot reload: the new program crashes",
		"the service goes on as before, and nothing was changed", "sudo systemctl stop dataflux-func-sidecar")
	if changed := difference(before, m.snapshot()); changed != "" {
		t.Errorf("refused, yet it changed\n%s", changed)
	}
	if m.executor() != executor {
		t.Errorf("got executor %s, want %s as before", m.executor(), executor)
	}
	m.checkAnswers(defaultAddress) // with the former key
}

// A package is installed although the running daemon refuses its program, and never leaves the service
// stopped.
func TestDebianPackage_RefusedReload(t *testing.T) {
	m := boot(t)
	this, next := m.placeDebs()
	m.apt("install", this)
	m.write("/root/script", crashing)
	m.sh("dpkg-deb -R " + next + " /root/deb; mv /root/deb/usr/bin/dataflux-func-sidecar /root/real; chmod 0755 /root/real; " +
		"install -m 0755 /root/script /root/deb/usr/bin/dataflux-func-sidecar; dpkg-deb -b /root/deb /srv/crashing.deb")
	executor := m.executor()
	wantSaid(t, m.apt("install", "/srv/crashing.deb"), "error: cannot reload: the new program crashes",
		"the service continues with the program that was installed before. hint: correct the cause and run sudo systemctl reload")
	if got := m.executor(); got != executor {
		t.Errorf("got executor %s, want %s as before", got, executor)
	}
	m.checkServes() // of this version
	wantSaid(t, m.apt("install", "--reinstall", next), "Reloaded")
	m.checkServesNext()
	if got := m.executor(); got != executor {
		t.Errorf("got executor %s, want %s as before", got, executor)
	}
}

// An upgrade from a release that cannot reload restarts once, and says what it waits for and what it
// has ended.
func TestUpgrade_FromAReleaseWithoutReload(t *testing.T) {
	m := boot(t)
	if m.placeEarlier().reloads() {
		t.Log("there is no such release: TestUpgrade_LastThreeReleases has what there is")
		return
	}
	m.placeCheckout()
	m.run(earlierFolder + "/install.sh")
	m.sh(`printf 'DRAIN_TIMEOUT = "2s"\nMAX_RUNNING = 2\nMAX_QUEUED = 5\n' >> ` + configFile + "; systemctl restart " + service)
	c := m.client(defaultAddress)
	for _, id := range []string{"first", "second", "third"} {
		c.answer(t, map[string]any{"command": "sleep 600", "wait": false, "jobId": id})
	}
	executor := m.executor()

	output := m.install()

	wantSaid(t, output, "The running release cannot reload, so the service restarts.",
		"Commands: 2 running, 1 queued. They have 2s (DRAIN_TIMEOUT), then they are ended.", "Ending 2 commands", "Stopped: ")
	if m.executor() == executor {
		t.Error("the executor is that of the earlier release")
	}
	m.checkServes()
	wantSaid(t, m.install(), "Nothing to change")
}

// An installation in a command must not wait for itself: the command is answered, and the new
// release serves.
func TestUpgrade_InsideACommand(t *testing.T) {
	const sudoers = "echo 'dffs ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/dffs; echo 'ALLOW_SUDO = true' >> " + configFile
	const restart = "; dataflux-func-sidecar configure; systemctl daemon-reload; systemctl restart " + service
	const scheduled = "so the service restarts when that command has ended"
	run := func(m *machine, command, said string) {
		t := m.t
		t.Helper()
		answer := m.client(defaultAddress).answer(t, map[string]any{
			"command": "sudo " + command + " >/tmp/said 2>&1; echo $?; sleep 2; echo end; exit 3",
		})
		output := m.run("cat", "/tmp/said")
		if answer.Data.Stdout != "0\nend\n" || answer.Data.ExitCode == nil || *answer.Data.ExitCode != 3 {
			t.Errorf("the command was answered %+v, want 0, end and exit code 3; it said\n%s", answer.Data, output)
		}
		wantSaid(t, output, said)
	}
	serves := func(m *machine, version string) {
		m.t.Helper()
		m.eventually("version "+version+" serves", func() bool {
			text, _ := m.try("curl", "-sS", "http://"+defaultAddress)
			return strings.Contains(text, version)
		})
	}
	t.Run("from a release without reload", func(t *testing.T) {
		m := boot(t)
		if m.placeEarlier().reloads() {
			t.Log("there is no such release")
			return
		}
		m.placeCheckout()
		this, next := m.placeDebs()
		m.run(earlierFolder + "/install.sh")
		m.sh(sudoers + restart)
		before := m.executor()
		run(m, checkout+"/install.sh", scheduled)
		m.eventually("the service has restarted", func() bool { return m.mainPID() != before && m.state(service) == "active" })
		m.checkServes()

		m.install("--uninstall")
		m.run(earlierFolder + "/install.sh")
		m.sh(restart[2:])
		before = m.executor()
		run(m, "apt-get install -y "+this, scheduled)
		m.eventually("the service has restarted", func() bool { return m.mainPID() != before && m.state(service) == "active" })
		m.checkServes()

		before = m.executor()
		run(m, "apt-get install -y "+next, "Reloaded")
		serves(m, nextVersion)
		if got := m.executor(); got != before {
			t.Errorf("got executor %s, want %s as before", got, before)
		}
	})
	t.Run("by a reload", func(t *testing.T) {
		m := installed(t)
		m.placeNext()
		m.sh(sudoers + restart)
		before := m.executor()
		run(m, nextFolder+"/install.sh", "Reloaded")
		serves(m, nextVersion)
		if got := m.executor(); got != before {
			t.Errorf("got executor %s, want %s as before", got, before)
		}
	})
}
