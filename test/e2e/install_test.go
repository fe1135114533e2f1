package e2e

import (
	"strings"
	"testing"
)

const welcome = "Welcome to DataFlux Func Sidecar\n* Version: 1.0.0\n* Release Date: 2026-11-23 00:00:00\n"

// block returns the end of the output of an installation, as the manual shows it.
func block(bind, key string) string {
	return "Bind:\n    " + bind + "\n" +
		"Secret Key:\n    " + key + "\n" +
		"To shutdown:\n    sudo systemctl stop dataflux-func-sidecar\n" +
		"To start:\n    sudo systemctl start dataflux-func-sidecar\n" +
		"\nNow open " + bind + " and have fun!"
}

func TestInstall_FromACheckout(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	output := m.install()
	key := m.secretKey()
	want := block("127.0.0.1:8099,172.17.0.1:8099", key) + "\nInstalled: dataflux-func-sidecar 1.0.0 (released 2026-11-23 00:00:00).\n" +
		"Next: in DataFlux Func create a connector with this address and key (connector/README.md of the release). " +
		"To test this host: sudo dataflux-func-sidecar check"
	if !strings.HasSuffix(output, want) {
		t.Errorf("the output ends otherwise than with the manual's block and the next step:\n%s\nwant at the end:\n%s", output, want)
	}
	// As by a sudo whose secure_path has no /usr/local/bin.
	output = m.run("env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", checkout+"/install.sh")
	if want := "To test this host: sudo /usr/local/bin/dataflux-func-sidecar check"; !strings.HasSuffix(output, want) {
		t.Errorf("got\n%s\nwant at the end: %s", output, want)
	}
	if len(key) < 22 { // 128 bits in base64, more in hex
		t.Errorf("the generated key has %d characters", len(key))
	}
	m.checkServes()
}

func TestInstall_FromAReleaseFolder(t *testing.T) {
	m := boot(t)
	m.placeRelease("/root/dataflux-func-sidecar")
	m.sh("cd /tmp && sh /root/dataflux-func-sidecar/install.sh")
	m.checkServes()
}

// checkServes does what a user tries first.
func (m *machine) checkServes() {
	t := m.t
	t.Helper()
	if text := m.run("curl", "-sS", "http://127.0.0.1:8099"); text+"\n" != welcome {
		t.Errorf("GET / says %q, want %q", text, welcome)
	}
	c := m.client(defaultAddress)
	if name := c.shell(t, "hostname"); name != "sidecar-host" {
		t.Errorf("hostname printed %q", name)
	}
	if user := c.shell(t, "id -un"); user != "dffs" {
		t.Errorf("id -un printed %q", user)
	}
	for _, unit := range []string{service, socket} {
		if state := m.state(unit); state != "active" {
			t.Errorf("%s is %s", unit, state)
		}
		if enabled, _ := m.try("systemctl", "is-enabled", unit); enabled != "enabled" {
			t.Errorf("%s is %s", unit, enabled)
		}
	}
}

func TestInstall_Umask000(t *testing.T) { // case 42
	m := boot(t)
	m.placeCheckout()
	m.sh("umask 000; " + checkout + "/install.sh")
	for path, want := range map[string]string{
		"/usr/local/bin/dataflux-func-sidecar":                   "711 root root",
		"/etc/dataflux-func-sidecar":                             "600 root root",
		"/etc/systemd/system/" + service:                         "644 root root",
		"/etc/systemd/system/" + socket:                          "644 root root",
		"/etc/systemd/system/" + socket + ".d":                   "755 root root",
		"/etc/systemd/system/" + socket + ".d/bind.conf":         "644 root root",
		"/var/lib/dataflux-func-sidecar":                         "700 root root",
		"/etc/systemd/system/multi-user.target.wants/" + service: "644 root root",
	} {
		if got := m.run("stat", "-L", "-c", "%a %U %G", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	open := m.sh(`find / -xdev -newer /run/systemd/system -perm /022 ! -type l ! -type s ! -perm -1000 \
		! -path '/proc/*' ! -path '/dev/*' ! -path '/run/*' ! -path '/root/*' ! -path '/var/log/*'`)
	if open != "" {
		t.Errorf("others may write to:\n%s", open)
	}
}

// With POSIXLY_CORRECT getopt treats an option after an operand as another operand.
func TestInstall_PosixlyCorrect(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("export POSIXLY_CORRECT=1; " + checkout + "/install.sh; " + checkout + "/install.sh --bind 127.0.0.1:8300")
	m.checkAnswers("127.0.0.1:8300")
	wantSaid(t, m.sh("POSIXLY_CORRECT=1 "+checkout+"/install.sh --uninstall --purge"), "Removed user dffs.")
}

func TestInstall_CommandUser(t *testing.T) {
	m := installed(t)
	if entry := m.run("getent", "passwd", "dffs"); !strings.HasSuffix(entry, ":DataFlux Func Sidecar:/home/dffs:/usr/sbin/nologin") {
		t.Errorf("dffs is %s", entry)
	}
	if is := m.run("stat", "-c", "%a %U %G", "/home/dffs"); is != "750 dffs dffs" {
		t.Errorf("/home/dffs is %s", is)
	}
	m.run("test", "-e", "/home/dffs/.profile")
	if got := m.client(defaultAddress).shell(t, "echo $((6 * 7)); pwd"); got != "42\n/home/dffs" { // independent of its login shell
		t.Errorf("a command printed %q", got)
	}
	if out, status := m.try("su", "--login", "dffs", "--command", "id"); status == 0 || !strings.Contains(out, "not available") {
		t.Errorf("a login of dffs: status %d, %s", status, out)
	}
}

func TestInstall_RoleUser(t *testing.T) {
	m := installed(t)
	entry := strings.Split(m.run("getent", "passwd", "dffs-sidecar"), ":")
	if len(entry) != 7 || strings.Join(entry[4:], ":") != "DataFlux Func Sidecar daemon:/nonexistent:/usr/sbin/nologin" {
		t.Fatalf("dffs-sidecar is %q", entry)
	}
	if group := m.run("getent", "group", entry[3]); !strings.HasPrefix(group, "dffs-sidecar:") {
		t.Errorf("its group is %s", group)
	}
	if entry[2] == m.run("id", "-u", "dffs") || entry[3] == m.run("id", "-g", "dffs") {
		t.Errorf("dffs-sidecar and dffs have a number in common: %q", entry)
	}
	if out, status := m.try("test", "-e", "/nonexistent"); status == 0 {
		t.Errorf("its home was made: %s", out)
	}
}

// With an id of dffs commands could touch the daemon; with an id of root it would be root.
func TestInstall_RoleUserWithANumberOfAnother(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("useradd --system --user-group dffs; groupadd --system sidecars")
	before := m.remains()
	for _, options := range []string{
		"--non-unique --uid $(id -u dffs) --gid sidecars", "--non-unique --uid 0 --gid sidecars", "--gid dffs", "--gid root",
	} {
		m.sh("useradd --system " + options + " dffs-sidecar")
		output, status := m.tryInstall()
		if status != 1 || !strings.Contains(output, "which root or dffs has too, and nothing was changed\nhint: remove that user (sudo userdel dffs-sidecar)") {
			t.Errorf("%s: status %d\n%s", options, status, output)
		}
		m.sh("sed -i '/^dffs-sidecar:/d' /etc/passwd /etc/shadow")
		if changed := difference(before, m.remains()); changed != "" {
			t.Errorf("%s: refused, yet there is\n%s", options, changed)
		}
	}
	m.install()
	m.checkAnswers(defaultAddress)
}

func TestInstall_ExistingCommandUser(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("groupadd monitoring; useradd -u 4321 -G monitoring -d /srv/dffs -s /bin/bash dffs")
	before := m.run("getent", "passwd", "dffs")
	m.install()
	if after := m.run("getent", "passwd", "dffs"); after != before {
		t.Errorf("dffs was %s and is %s", before, after)
	}
	c := m.client(defaultAddress)
	if got := c.shell(t, "id -u; id -Gn; pwd"); got != "4321\ndffs monitoring\n/srv/dffs" {
		t.Errorf("a command runs as %q", got)
	}
}

func TestInstall_RepeatedKeepsConfigurationAndSockets(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099,127.0.0.1:8300", "--secret-key", "kept-key-0123456789abcdef")
	m.sh("echo 'COMMAND_TIMEOUT = \"7m\"   # by hand' >> /etc/dataflux-func-sidecar")
	configuration, sockets, executor := m.run("cat", "/etc/dataflux-func-sidecar"), m.listening(), m.executor()

	output := m.install()

	if after := m.run("cat", "/etc/dataflux-func-sidecar"); after != configuration {
		t.Errorf("the configuration was\n%s\nand is\n%s", configuration, after)
	}
	for _, said := range []string{"BIND: kept", "SECRET_KEY: kept", block("127.0.0.1:8099,127.0.0.1:8300", "kept-key-0123456789abcdef")} {
		if !strings.Contains(output, said) {
			t.Errorf("the output does not say %q:\n%s", said, output)
		}
	}
	if after := m.listening(); after != sockets {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
	if got := m.executor(); got != executor {
		t.Errorf("got executor %s, want %s as before: the changed configuration is reloaded", got, executor)
	}
}

// listening lists the daemon's listening sockets with their inodes. Equal lists mean the same
// sockets.
func (m *machine) listening() string {
	m.t.Helper()
	return m.sh(`ss -H -l -t -n -e | grep -o '[^ ]*:8[0-9][0-9][0-9] .*ino:[0-9]*' | sed 's/ .* / /' | sort`)
}
