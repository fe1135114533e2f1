package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

const configuration = "/etc/dataflux-func-sidecar"

// finding is one finding of `check --json`.
type finding struct{ Check, Level, Message, Command string }

func (m *machine) check(args ...string) (found []finding, status int) {
	m.t.Helper()
	out, status := m.try(append([]string{"dataflux-func-sidecar", "check", "--json"}, args...)...)
	var answer struct {
		OK       bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.OK != (status == 0) {
		m.t.Fatalf("status %d, %v:\n%s", status, err, out)
	}
	if strings.Contains(out, m.secretKey()) {
		m.t.Errorf("the key is shown:\n%s", out)
	}
	return answer.Findings, status
}

// wantWell fails the test if there is a warning or failure. The clock is an exception, because this
// host keeps it.
func (m *machine) wantWell(when string) []finding {
	m.t.Helper()
	found, status := m.check()
	for _, f := range found {
		if f.Level != "ok" && f.Check != "clock" {
			m.t.Errorf("%s: %+v", when, f)
		}
	}
	if status != 0 {
		m.t.Errorf("%s: status %d", when, status)
	}
	return found
}

// fault is a defect of an installation.
type fault struct {
	name   string
	script string // causes it
	check  string // the name of the check that finds it
	level  string
	says   string
	fix    string // the fix, if the finding has no command
}

func faults() []fault {
	return []fault{
		{"readable configuration", "chmod 0644 " + configuration, "configuration", "failure", "has mode 0644", ""},
		{"configuration of another", "chown nobody " + configuration, "configuration", "failure", "who can change it", ""},
		{"another BIND", `sed -i 's/^BIND.*/BIND="127.0.0.1:8200"/' ` + configuration, "agreement", "failure", "listens on other addresses", ""},
		{"another key", `sed -i 's/^SECRET_KEY="/&x/' ` + configuration, "call", "failure", "does not accept the key", ""},
		{"a change that nobody has read", "sleep 0.1; touch " + configuration, "freshness", "warning", "has changed since the service has read it", ""},
		{"another docker0", "ip link add docker0 type bridge; ip addr add 172.30.0.1/16 dev docker0; ip link set docker0 up\n" +
			"dataflux-func-sidecar configure --bind 127.0.0.1:8099,172.17.0.1:8099\n" + apply, "bridge", "warning", "docker0 has 172.30.0.1", ""},
		{"readable program", "chmod 0755 /usr/local/bin/dataflux-func-sidecar", "program", "warning", "mode 0755", ""},
		{"program of anybody", "chmod 0777 /usr/local/bin/dataflux-func-sidecar", "program", "failure", "others than root can change", ""},
		{"state within reach", "chmod 0755 /var/lib/dataflux-func-sidecar", "state", "failure", "mode 0755", ""},
		{"full disk", "mount -t tmpfs -o size=64k,mode=0700 none /var/lib/dataflux-func-sidecar", "state", "failure", "is full", "umount /var/lib/dataflux-func-sidecar"},
		{"little room", "mount -t tmpfs -o size=8m,mode=0700 none /var/lib/dataflux-func-sidecar", "state", "warning", "less than MAX_STATE", "umount /var/lib/dataflux-func-sidecar"},
		{"stopped service", "systemctl stop dataflux-func-sidecar", "service", "failure", "dataflux-func-sidecar.service is inactive", ""},
		{
			"start that is refused", "systemctl stop " + service + "; rm /var/lib/dataflux-func-sidecar/lock; mkdir /var/lib/dataflux-func-sidecar/lock; systemctl start " + service + " || :",
			"service", "failure", "its last start was refused: ", "rmdir /var/lib/dataflux-func-sidecar/lock; systemctl restart " + service,
		},
		{"no start at boot", "systemctl disable dataflux-func-sidecar", "service", "warning", "does not start at boot", ""},
		{"masked service", "mkdir -p /usr/lib/systemd/system; mv /etc/systemd/system/" + service + " /usr/lib/systemd/system/; systemctl daemon-reload; systemctl mask --now " + service, "units", "failure", "is masked", ""},
		{
			// systemctl returns when the stops and the start have completed, so timing does not
			// matter.
			"another server at the port", "systemctl stop " + service + " " + socket + "; systemd-run --quiet --unit foreign " +
				"--socket-property=ListenStream=127.0.0.1:8099 --socket-property=Accept=yes -p StandardOutput=socket /bin/echo hello",
			"ports", "failure", "BIND address 127.0.0.1:8099 is taken by systemd, for a socket unit", "systemctl stop foreign.socket; systemctl start dataflux-func-sidecar",
		},
		{"hardening that commands notice", dropIn("few", "ProtectHome=yes") + "; systemctl restart " + service, "hardening", "warning", "ProtectHome=yes applies to commands as well", undo("few")},
		{"metrics that the service was not given", "systemctl enable --quiet " + metrics, "metrics", "warning", "has started without it", ""},
		{"metrics until the next boot", "systemctl disable --quiet " + metrics, "metrics", "warning", "active and not enabled", ""},
		{"a socket that the service keeps", "systemctl disable --quiet --now " + metrics, "metrics", "warning", "keeps the socket", ""},
		{"missing WORKDIR", `echo 'WORKDIR="/srv/new"' >> ` + configuration, "workdir", "failure", "is missing", ""},
		{"closed WORKDIR", `install -d -m 0700 /srv/closed; echo 'WORKDIR="/srv/closed"' >> ` + configuration, "workdir", "failure", "cannot enter", "chmod 0755 /srv/closed"},
		{"closed SHELL", `install -d -m 0700 /srv/bin; cp /bin/sh /srv/bin/sh; echo 'SHELL="/srv/bin/sh"' >> ` + configuration, "shell", "failure", "cannot execute", "chmod 0755 /srv/bin"},
		{
			"action that commands can change", "install -m 0777 /bin/true /usr/local/bin/deploy; printf '[ACTION.deploy]\nRUN = [\"/usr/local/bin/deploy\"]\n' >> " + configuration,
			"actions", "warning", "can change /usr/local/bin/deploy of ACTION.deploy", "",
		},
		{"total below what may run", "echo 'TOTAL_PROCESSES = 10' >> " + configuration, "limits", "warning", "is below MAX_RUNNING", "sed -i /^TOTAL_/d " + configuration},
		{"missing home", "rm -r /home/dffs", "workdir", "warning", "commands start in /", ""},
		{"login shell", "usermod --shell /bin/bash dffs", "login", "warning", "has the login shell /bin/bash", ""},
		{"home that everyone lists", "chmod 0755 /home/dffs", "login", "warning", "everyone can list /home/dffs", ""},
		{"home that everyone writes", "chmod 0777 /home/dffs", "login", "warning", "everyone can write to /home/dffs", ""},
		{"keys of ssh", "install -d -o dffs -m 0700 /home/dffs/.ssh", "login", "warning", "DenyUsers dffs", "rmdir /home/dffs/.ssh"},
		{"mail that runs programs", "echo '|id' > /home/dffs/.forward", "login", "warning", ".forward: a mail to dffs", "rm /home/dffs/.forward"},
		{"missing user of the daemon", "systemctl stop dataflux-func-sidecar; userdel dffs-sidecar; systemctl start dataflux-func-sidecar", "roles", "warning", "there is no user dffs-sidecar", ""},
		{"few tasks", dropIn("few", "TasksMax=100"), "bounds", "warning", "TasksMax of the service is 100", undo("few")},
		{"few entries of the journal", dropIn("few", "LogRateLimitBurst=1000"), "bounds", "warning", "the journal takes 1000 entries", undo("few")},
		{"missing user", "systemctl stop dataflux-func-sidecar; userdel dffs", "user", "failure", "there is no user dffs", ""},
		{"unit of another version", "sed -i /^Delegate=/d /etc/systemd/system/" + service + "; systemctl daemon-reload", "units", "warning", "has Delegate=no instead of yes", checkout + "/install.sh"},
		{"needed setting that a drop-in takes away", dropIn("few", "KillMode=process"), "units", "warning", "has KillMode=process instead of mixed", undo("few")},
		{"BIND that systemd has not read", "dataflux-func-sidecar configure --bind 127.0.0.1:8300", "units", "warning", "has changed since systemd has read it", ""},
		{"unit that systemd has not read", "touch -d 'now + 1 second' /etc/systemd/system/" + socket, "units", "warning", "has changed since systemd has read it", ""},
		{
			"missing unit", "systemctl stop dataflux-func-sidecar; rm /etc/systemd/system/" + ports + "; systemctl daemon-reload; systemctl start dataflux-func-sidecar",
			"units", "failure", "there is no " + ports, checkout + "/install.sh",
		},
	}
}

// dropIn returns a script that adds a setting to the service, undo one that removes it.
func dropIn(name, setting string) string {
	const folder = "/etc/systemd/system/" + service + ".d"
	return "mkdir -p " + folder + "; printf '[Service]\n" + setting + "\n' > " + folder + "/" + name + ".conf; systemctl daemon-reload"
}

func undo(name string) string {
	return "rm /etc/systemd/system/" + service + ".d/" + name + ".conf; systemctl daemon-reload"
}

// apply is the command that configure prints to apply another BIND.
const apply = applyCommand

// restore undoes what the fixes change on purpose: the configuration, and the path of a unit.
const restore = `systemctl start dataflux-func-sidecar
	ip link del docker0 2>/dev/null || true
	if test -e /usr/lib/systemd/system/` + service + `; then mv /usr/lib/systemd/system/` + service + ` /etc/systemd/system/; systemctl daemon-reload; systemctl reenable --quiet dataflux-func-sidecar; fi
	cmp -s /root/good ` + configuration + ` || { cp -p /root/good ` + configuration + `; dataflux-func-sidecar configure; ` + apply + `; }
	systemctl restart dataflux-func-sidecar`

func TestCheck_EachFaultAndItsFix(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099")
	m.sh("cp -p " + configuration + " /root/good")
	for _, name := range checksOfAnInstallation(t) {
		if _, found := has(m.wantWell("after the installation"), fault{check: name, level: "ok"}); !found {
			t.Errorf("got no finding of the check %s, want ok", name)
		}
	}
	for _, fault := range faults() {
		m.sh(fault.script)
		found, status := m.check()
		f, complained := has(found, fault)
		if !complained || fault.level == "failure" && status != 1 {
			t.Errorf("%s: status %d, %+v", fault.name, status, found)
		}
		if f.Command == "" == (fault.fix == "") {
			t.Errorf("%s: got the command %q, want one unless the test has the fix %q", fault.name, f.Command, fault.fix)
		}
		m.sh(f.Command + fault.fix)
		again, _ := m.check()
		if f, complains := has(again, fault); complains {
			t.Errorf("%s: still found after its fix: %+v", fault.name, f)
		}
		m.sh(restore)
		m.wantWell("after " + fault.name)
	}
}

// checksOfAnInstallation lists the checks that report ok after an installation: all of the table in
// internal/check, except for those that the host decides or that have nothing to examine.
func checksOfAnInstallation(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../internal/check/check.go")
	if err != nil {
		t.Fatal(err)
	}
	silent := map[string]string{
		"callers":  "no CALLERS",
		"tls":      "no TLS_CERTIFICATE",
		"bridge":   "no docker0",
		"sudo":     "no ALLOW_SUDO",
		"firewall": "no docker0",
		"dumps":    "depends on a kernel setting of the host",
		"clock":    "depends on the clock of the host",
		"metrics":  "their socket is not enabled",
		"actions":  "no ACTION",
		"limits":   "no limits",
	}
	names := []string{"configuration"}
	for _, row := range regexp.MustCompile(`(?m)^\t\t\{"(\w+)", \w+, \w+\},$`).FindAllStringSubmatch(string(text), -1) {
		if silent[row[1]] == "" {
			names = append(names, row[1])
		}
		delete(silent, row[1])
	}
	if len(names) < 18 || len(silent) > 0 {
		t.Errorf("got the checks %q, and none of the names %v, want all checks of the table", names, silent)
	}
	return names
}

func has(found []finding, f fault) (finding, bool) {
	for _, one := range found {
		if one.Check == f.check && one.Level == f.level && strings.Contains(one.Message, f.says) {
			return one, true
		}
	}
	return finding{}, false
}

// `systemctl restart` returns when the service has started. The unit that closes the ports starts
// after that.
func TestCheck_RightAfterARestart(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099")
	m.write("/etc/systemd/system/"+ports+".d/slow.conf", "[Service]\nExecStart=/bin/sleep 1\n")
	m.sh("systemctl daemon-reload; systemctl restart " + service)
	m.wantWell("while systemd starts " + ports)
}

// A package has program and units at other paths, and a drop-in.
func TestCheck_PackageInstallation(t *testing.T) {
	m := boot(t)
	arch := m.run("dpkg", "--print-architecture")
	m.apt("install", m.placePackage(thesePackages, debName(thisVersion, arch)))
	m.sh("dataflux-func-sidecar configure --bind 127.0.0.1:8099 && " + apply)
	m.wantWell("after the package's installation")
	m.run("systemctl", "mask", metrics)
	m.wantWell("without any metrics for good")
	for _, path := range []string{"/usr/bin/dataflux-func-sidecar is root's", "/usr/lib/systemd/system/" + service + " is loaded"} {
		if out := m.run("dataflux-func-sidecar", "check"); !strings.Contains(out, "ok: "+path) && !strings.Contains(out, "ok: /lib"+strings.TrimPrefix(path, "/usr/lib")) {
			t.Errorf("no word of %s in\n%s", path, out)
		}
	}
}
