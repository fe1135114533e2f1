package e2e

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const (
	originalBind = "127.0.0.1:8099,127.0.0.1:8200"
	// A key that tests every form of quoting.
	originalKey = `pa$$ word#\1 "é"`

	originalConfig = "# DataFlux Func Sidecar\n" +
		"BIND=" + originalBind + "\n" +
		"\n" +
		"export SECRET_KEY='" + originalKey + "'   # as in Func\n" +
		"LOG_LEVEL=info\n"
	originalUnit = "[Unit]\nDescription=DataFlux Func Sidecar\nAfter=network.target\n\n" +
		"[Service]\nExecStart=/usr/local/bin/dataflux-func-sidecar\nRestart=always\n\n" +
		"[Install]\nWantedBy=multi-user.target\n"

	configFile = "/etc/dataflux-func-sidecar"
)

// The original Sidecar is installed as its manual says. Our install.sh replaces it, and callers
// with its key notice nothing.
func TestUpgrade_FromTheOriginalSidecar(t *testing.T) {
	m := boot(t)
	m.placeOriginal()
	m.placeCheckout()
	user := m.run("getent", "passwd", "dffs")
	c := m.clientWithKey(originalKey)
	if got := c.shell(t, "id -un"); got != "dffs" {
		t.Fatalf("the stand-in for the original answers %q", got)
	}
	m.checkRefusedTakeOver(c)

	output := m.install()

	m.checkTakenOver(output, user)
	m.checkStillTheOriginals(c, user)
	m.reboot()
	m.checkStillTheOriginals(c, user)
	written := m.run("cat", configFile)
	if output := m.install(); strings.Contains(output, "original") || m.run("cat", configFile) != written {
		t.Errorf("repeated, it changed the configuration:\n%s", output)
	}
	if backups := m.sh("ls -d " + configFile + ".*"); backups != configFile+".original" {
		t.Errorf("backups: %s", backups)
	}
	m.checkStillTheOriginals(c, user)
	m.checkWayBack(c)
}

func (m *machine) placeOriginal() {
	m.t.Helper()
	m.sh("useradd --uid 4321 --create-home --home-dir /srv/dffs --shell /bin/bash dffs; echo mine > /srv/dffs/script; chown dffs: /srv/dffs/script")
	m.write(configFile, originalConfig)
	m.run("chmod", "0644", configFile) // our program warns of that
	m.startOriginal()
}

func (m *machine) startOriginal() {
	m.t.Helper()
	m.place("original.py", "/usr/local/bin/dataflux-func-sidecar", 0o755)
	m.write("/etc/systemd/system/"+service, originalUnit)
	m.sh("systemctl daemon-reload; systemctl enable --quiet --now " + service)
	m.eventually("the original listens", func() bool {
		listening, _ := m.try("ss", "-H", "-l", "-t", "-n")
		return strings.Contains(listening, "127.0.0.1:8099") && strings.Contains(listening, "127.0.0.1:8200")
	})
}

// clientWithKey returns a client with the given key, because the configuration may have it in
// another form.
func (m *machine) clientWithKey(key string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return m.dial(ctx, "tcp", defaultAddress) }
	return &client{m: m, key: key, network: "tcp", address: defaultAddress, http: &http.Client{
		Timeout:   testkit.Patience,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// checkRefusedTakeOver checks that a configuration that only a shell could interpret changes
// nothing.
func (m *machine) checkRefusedTakeOver(c *client) {
	m.t.Helper()
	m.sh("cp " + configFile + " /root/kept; echo 'SECRET_KEY=$(cat /root/key)' >> " + configFile)
	before, original := m.snapshot(), m.executor()
	output, status := m.tryInstall()
	if status == 0 || !strings.Contains(output, "line 6: SECRET_KEY has a $ or a `") || !strings.Contains(output, "nothing was changed") {
		m.t.Errorf("status %d\n%s", status, output)
	}
	if after := m.snapshot(); after != before || m.executor() != original {
		m.t.Errorf("refused, yet it was\n%s\nand is\n%s", before, after)
	}
	if got := c.shell(m.t, "id -un"); got != "dffs" {
		m.t.Errorf("the original answers %q", got)
	}
	m.sh("cat /root/kept > " + configFile)
}

func (m *machine) checkTakenOver(output, user string) {
	t := m.t
	t.Helper()
	for _, said := range []string{"as it was: " + configFile + ".original", "line 5: has no meaning here", "BIND: kept: " + originalBind, "SECRET_KEY: kept", "had mode 0644 and has 0600 now"} {
		if !strings.Contains(output, said) {
			t.Errorf("the output does not say %q:\n%s", said, output)
		}
	}
	if backup := m.run("cat", configFile+".original"); backup+"\n" != originalConfig {
		t.Errorf("the backup holds\n%s", backup)
	}
	for _, file := range []string{configFile, configFile + ".original"} {
		if got := m.run("stat", "-c", "%a %U %G", file); got != "600 root root" {
			t.Errorf("%s is %s", file, got)
		}
	}
	if left, _ := m.try("pgrep", "-a", "python3"); left != "" {
		t.Errorf("the original still runs: %s", left)
	}
	if kind := m.run("systemctl", "show", "--value", "-p", "Type", service); kind != "notify" {
		t.Errorf("the unit in force is of type %s, so not ours", kind)
	}
}

// checkStillTheOriginals checks that key, addresses and user are those of the original.
func (m *machine) checkStillTheOriginals(c *client, user string) {
	t := m.t
	t.Helper()
	if got := c.shell(t, "id -un; id -u; pwd; cat script"); got != "dffs\n4321\n/srv/dffs\nmine" {
		t.Errorf("a command says %q", got)
	}
	for _, address := range []string{"127.0.0.1:8099", "127.0.0.1:8200"} {
		if text, status := m.try("curl", "-sS", "http://"+address); status != 0 || text+"\n" != welcome {
			t.Errorf("%s: status %d, %q", address, status, text)
		}
	}
	if after := m.run("getent", "passwd", "dffs"); after != user {
		t.Errorf("dffs was %s and is %s", user, after)
	}
	const source = `env -i sh -euc '. /etc/dataflux-func-sidecar; printf "%s\n%s" "$BIND" "$SECRET_KEY"'`
	if got := m.sh(source); got != originalBind+"\n"+originalKey {
		t.Errorf("a shell that sources the configuration sees %q", got)
	}
}

// checkWayBack restores the original's program and unit, as its installer does. It must work with
// our configuration.
func (m *machine) checkWayBack(c *client) {
	m.t.Helper()
	m.sh("systemctl disable --quiet --now " + service + " " + socket + "; rm /etc/systemd/system/dataflux-func-sidecar*.service /etc/systemd/system/" + socket)
	m.startOriginal()
	if got := c.shell(m.t, "id -un"); got != "dffs" {
		m.t.Errorf("after the way back the original answers %q", got)
	}
}
