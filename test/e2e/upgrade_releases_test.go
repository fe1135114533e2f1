package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// betweenVersion is the version in the package of betweenCommit: an unreleased commit has that
// of the release before it.
const betweenVersion = "0.9.0"

// betweenPackages returns a folder with the Debian package for this host that the sources of
// betweenCommit make.
var betweenPackages = sync.OnceValues(func() (string, error) {
	r, err := between()
	if err != nil {
		return "", err
	}
	work, dist := r.program+"-work", r.program+"-dist"
	if err := os.MkdirAll(filepath.Join(work, runtime.GOARCH), 0o755); err != nil {
		return "", err
	}
	if err := os.Link(r.program, filepath.Join(work, runtime.GOARCH, packageName)); err != nil {
		return "", err
	}
	build := filepath.Join(r.sources, "release/packages/build.sh")
	script, err := os.ReadFile(build)
	if err != nil {
		return "", err
	}
	build, script = build+".short", otherPackages.ReplaceAll(script, nil)
	if err := os.WriteFile(build, script, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("sh", build, dist, work, betweenVersion)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+releaseTime)
	return filepath.Join(dist, "packages"), testkit.Explain(cmd)
})

// otherPackages are the lines of build.sh that make other packages: each takes seconds.
var otherPackages = regexp.MustCompile(`(?m)^pack (rpm .*|deb ` + map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH] + ` .*)$`)

// installedRelease is one that can be installed in a machine.
type installedRelease struct {
	name    string
	install func() (output string)
	program string // its path in the machine
	reloads bool
	says    []string // what its installation says if the service must restart
}

// Each of the last three releases and the next one replaces its neighbour, there and back, with a
// job that runs. Between releases that reload nothing notices. To and from others the service
// restarts once, and says what it waits for.
func TestUpgrade_LastThreeReleases(t *testing.T) {
	t.Run("install.sh", func(t *testing.T) {
		m := boot(t)
		first := m.placeEarlier()
		second := m.placeFromHistory(between, betweenFolder)
		m.placeCheckout()
		m.placeNext()
		release := func(folder string, reloads bool) installedRelease {
			return installedRelease{
				name: folder, install: func() string { return m.run(folder + "/install.sh") },
				program: folder + "/bin/" + packageName, reloads: reloads,
			}
		}
		this := release(checkout, true)
		this.says = []string{
			"The running release cannot reload, so the service restarts.",
			"Commands: 1 running, 0 queued. They have 1s (DRAIN_TIMEOUT), then they are ended.", "Ending 1 command",
		}
		m.moveThereAndBack(release(earlierFolder, first.reloads()), release(betweenFolder, second.reloads()),
			this, release(nextFolder, true))
	})
	t.Run("deb", func(t *testing.T) { // the first release had no package
		r, err := between()
		if err != nil {
			t.Fatal(err)
		}
		if r.renumbered {
			t.Log("a shallow clone has no other package than the present ones, see TestUpgrade_UnderRunningJobs")
			return
		}
		m := boot(t)
		this, next := m.placeDebs()
		former := m.placePackage(betweenPackages, debName(betweenVersion, runtime.GOARCH))
		release := func(path string, reloads bool) installedRelease {
			program := path + ".content/usr/bin/" + packageName
			m.run("dpkg-deb", "--extract", path, path+".content")
			return installedRelease{
				name: path, install: func() string { return m.apt("install", "--allow-downgrades", path) }, program: program, reloads: reloads,
			}
		}
		present := release(this, true)
		present.says = []string{
			"the service must restart for this change",
			"commands: 1 running, 0 queued; they have 1s (DRAIN_TIMEOUT), then they are ended", "Ending 1 command",
		}
		m.moveThereAndBack(release(former, r.reloads()), present, release(next, true))
	})
}

// moveThereAndBack installs the releases in their order, and then in the reverse one.
func (m *machine) moveThereAndBack(releases ...installedRelease) {
	m.t.Helper()
	releases[0].install()
	m.sh(`printf 'DRAIN_TIMEOUT = "1s"\n' >> ` + configFile + "; systemctl restart " + service)
	for n := 1; n < len(releases); n++ {
		m.move(releases[n-1], releases[n])
	}
	for n := len(releases) - 1; n > 0; n-- {
		m.move(releases[n], releases[n-1])
	}
}

// move installs a release over another one, with a job that runs and a caller who waits for it.
func (m *machine) move(from, to installedRelease) {
	t := m.t
	t.Helper()
	c := m.client(defaultAddress)
	sockets, executor, starts, spent := m.listening(), m.executor(), m.starts(), c.spend(t)
	m.sh("rm -f /tmp/runs /tmp/go")
	waiting := c.inBackground(map[string]any{"command": "touch /tmp/runs; until [ -e /tmp/go ]; do sleep 0.1; done; echo end"})
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/runs"); return status == 0 })

	said := to.install()

	step := fmt.Sprintf("from %s to %s", from.name, to.name)
	m.run("cmp", "/proc/"+m.executor()+"/exe", to.program)
	m.run("touch", "/tmp/go") // no effect if the command has been ended
	got := <-waiting
	if got.err != nil {
		t.Errorf("%s: got %v, want an answer", step, got.err)
	}
	if from.reloads && to.reloads {
		if got.answer.Data == nil || got.answer.Data.Stdout != "end\n" {
			t.Errorf("%s: got the answer %+v, want end", step, got.answer)
		}
		if now, again := m.executor(), m.starts(); now != executor || again != starts {
			t.Errorf("%s: got executor %s after %d starts, want %s after %d; it said\n%s", step, now, again, executor, starts, said)
		}
	} else {
		if now, again := m.executor(), m.starts(); now == executor || again != starts+1 {
			t.Errorf("%s: got executor %s after %d starts, want another after %d; it said\n%s", step, now, again, starts+1, said)
		}
		wantSaid(t, said, to.says...)
	}
	if now := m.listening(); now != sockets {
		t.Errorf("%s: got the listening sockets\n%s\nwant\n%s", step, now, sockets)
	}
	if status, text := spent.send(t); status != http.StatusUnauthorized || !strings.Contains(text, "nonce") {
		t.Errorf("%s: got status %d for a replay, want 401: %s", step, status, text)
	}
	m.checkAnswers(defaultAddress)
}

// starts is how many times systemd has started the service since the machine booted.
func (m *machine) starts() int {
	m.t.Helper()
	m.run("journalctl", "--sync")
	const started = "39f53479d3a045ac8e11786248231fbf"
	return strings.Count(m.run("journalctl", "--quiet", "-o", "json", "--output-fields=UNIT", "_PID=1", "UNIT="+service, "MESSAGE_ID="+started), "\n")
}
