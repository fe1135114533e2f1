package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

const configuration = "/etc/dataflux-func-sidecar"

// finding is what `check --json` says of one thing.
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

// wantWell wants no complaint. Whether the clock is synchronised is a matter of this host.
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

// fault is one thing that can be wrong with an installation.
type fault struct {
	name   string
	script string // brings it about
	check  string // by which it is found
	level  string
	says   string
	mend   string // where the finding has no command
}

func faults() []fault {
	return []fault{
		{"readable configuration", "chmod 0644 " + configuration, "configuration", "failure", "has mode 0644", ""},
		{"configuration of another", "chown nobody " + configuration, "configuration", "failure", "who can change it", ""},
		{"another BIND", `sed -i 's/^BIND.*/BIND="127.0.0.1:8200"/' ` + configuration, "agreement", "failure", "listens on other addresses", ""},
		{"another key", `sed -i 's/^SECRET_KEY="/&x/' ` + configuration, "call", "failure", "does not take the key", ""},
		{"a change that nobody has read", "sleep 0.1; touch " + configuration, "freshness", "warning", "has changed since the service has started", ""},
		{"sudo without its drop-in", "echo ALLOW_SUDO=true >> " + configuration, "agreement", "failure", "does not agree with ALLOW_SUDO", ""},
		{"another docker0", "ip link add docker0 type bridge; ip addr add 172.30.0.1/16 dev docker0; ip link set docker0 up\n" +
			"dataflux-func-sidecar configure --bind 127.0.0.1:8099,172.17.0.1:8099\n" + apply, "bridge", "warning", "docker0 has 172.30.0.1", ""},
		{"readable program", "chmod 0755 /usr/local/bin/dataflux-func-sidecar", "program", "warning", "mode 0755", ""},
		{"program of anybody", "chmod 0777 /usr/local/bin/dataflux-func-sidecar", "program", "failure", "others than root can change", ""},
		{"state within reach", "chmod 0755 /var/lib/dataflux-func-sidecar", "state", "failure", "mode 0755", ""},
		{"full disk", "mount -t tmpfs -o size=64k,mode=0700 none /var/lib/dataflux-func-sidecar", "state", "failure", "is full", "umount /var/lib/dataflux-func-sidecar"},
		{"little room", "mount -t tmpfs -o size=8m,mode=0700 none /var/lib/dataflux-func-sidecar", "state", "warning", "less than MAX_STATE", "umount /var/lib/dataflux-func-sidecar"},
		{"stopped service", "systemctl stop dataflux-func-sidecar", "service", "failure", "dataflux-func-sidecar.service is inactive", ""},
		{"no start at boot", "systemctl disable dataflux-func-sidecar", "service", "warning", "does not start at boot", ""},
		{"masked service", "mkdir -p /usr/lib/systemd/system; mv /etc/systemd/system/" + service + " /usr/lib/systemd/system/; systemctl daemon-reload; systemctl mask --now " + service, "units", "failure", "is masked", ""},
		{
			"a stranger at the port", "systemctl stop dataflux-func-sidecar; systemd-run --quiet --unit stranger systemd-socket-activate -l 127.0.0.1:8099 --accept --inetd /bin/echo hello\n" +
				"i=0; while [ $i -lt 100 ] && ! ss -ltn | grep -q 127.0.0.1:8099; do sleep 0.1; i=$((i+1)); done",
			"answers", "failure", "something else than a Sidecar answers", "systemctl stop stranger; systemctl start dataflux-func-sidecar",
		},
		{"metrics that the service was not given", "systemctl enable --quiet " + metrics, "metrics", "warning", "has started without it", ""},
		{"metrics until the next boot", "systemctl disable --quiet " + metrics, "metrics", "warning", "active and not enabled", ""},
		{"a socket that the service keeps", "systemctl disable --quiet --now " + metrics, "metrics", "warning", "keeps the socket", ""},
		{"missing WORKDIR", `echo 'WORKDIR="/srv/new"' >> ` + configuration, "workdir", "failure", "is missing", ""},
		{"closed WORKDIR", `install -d -m 0700 /srv/closed; echo 'WORKDIR="/srv/closed"' >> ` + configuration, "workdir", "failure", "cannot enter", "chmod 0755 /srv/closed"},
		{"closed SHELL", `install -d -m 0700 /srv/bin; cp /bin/sh /srv/bin/sh; echo 'SHELL="/srv/bin/sh"' >> ` + configuration, "shell", "failure", "cannot execute", "chmod 0755 /srv/bin"},
		{"missing home", "rm -r /home/dffs", "workdir", "warning", "commands start in /", ""},
		{"missing user", "systemctl stop dataflux-func-sidecar; userdel dffs", "user", "failure", "there is no user dffs", ""},
		{"edited unit", "echo '# mine' >> /etc/systemd/system/" + service, "units", "warning", "is not the one of version", checkout + "/install.sh"},
		{"BIND that systemd has not read", "dataflux-func-sidecar configure --bind 127.0.0.1:8300", "units", "warning", "has changed since systemd has read it", ""},
		{"unit that systemd has not read", "touch -d 'now + 1 second' /etc/systemd/system/" + socket, "units", "warning", "has changed since systemd has read it", ""},
		{
			"missing unit", "systemctl stop dataflux-func-sidecar; rm /etc/systemd/system/" + ports + "; systemctl daemon-reload; systemctl start dataflux-func-sidecar",
			"units", "failure", "there is no " + ports, checkout + "/install.sh",
		},
	}
}

// apply is what configure says applies another BIND.
const apply = "systemctl stop " + service + " " + socket + "; systemctl daemon-reload; systemctl start dataflux-func-sidecar"

// restore takes back what the mending leaves different on purpose: the configuration, and the place of a unit.
const restore = `systemctl start dataflux-func-sidecar
	ip link del docker0 2>/dev/null || true
	if test -e /usr/lib/systemd/system/` + service + `; then mv /usr/lib/systemd/system/` + service + ` /etc/systemd/system/; systemctl daemon-reload; systemctl reenable --quiet dataflux-func-sidecar; fi
	cmp -s /root/good ` + configuration + ` || { cp -p /root/good ` + configuration + `; dataflux-func-sidecar configure; ` + apply + `; }
	systemctl restart dataflux-func-sidecar`

func TestCheckFindsEachFaultAndNamesWhatMendsIt(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8099")
	m.sh("cp -p " + configuration + " /root/good")
	for _, looked := range []string{"configuration", "keys", "addresses", "user", "workdir", "shell", "agreement", "program", "state", "sandbox", "units", "service", "freshness", "answers", "call"} {
		if _, found := has(m.wantWell("after the installation"), fault{check: looked, level: "ok"}); !found {
			t.Errorf("%s is not looked at", looked)
		}
	}
	for _, fault := range faults() {
		m.sh(fault.script)
		found, status := m.check()
		f, complained := has(found, fault)
		if !complained || fault.level == "failure" && status != 1 {
			t.Errorf("%s: status %d, %+v", fault.name, status, found)
		}
		if f.Command == "" == (fault.mend == "") {
			t.Errorf("%s: mended by %q or %q?", fault.name, f.Command, fault.mend)
		}
		m.sh(f.Command + fault.mend)
		again, _ := m.check()
		if f, complains := has(again, fault); complains {
			t.Errorf("%s: after the mending still %+v", fault.name, f)
		}
		m.sh(restore)
		m.wantWell("after " + fault.name)
	}
}

func has(found []finding, f fault) (finding, bool) {
	for _, one := range found {
		if one.Check == f.check && one.Level == f.level && strings.Contains(one.Message, f.says) {
			return one, true
		}
	}
	return finding{}, false
}

// A package has program and units elsewhere, and a drop-in of its own.
func TestCheckKnowsAnInstallationFromAPackage(t *testing.T) {
	m := boot(t)
	arch := m.run("dpkg", "--print-architecture")
	m.apt("install", m.placePackage(thesePackages, debName(thisVersion, arch)))
	m.sh("dataflux-func-sidecar configure --bind 127.0.0.1:8099 && " + apply)
	m.wantWell("after the package's installation")
	m.run("systemctl", "mask", metrics)
	m.wantWell("without any metrics for good")
	for _, path := range []string{"/usr/bin/dataflux-func-sidecar is root's", "/usr/lib/systemd/system/" + service + " is the one of version"} {
		if out := m.run("dataflux-func-sidecar", "check"); !strings.Contains(out, "ok: "+path) && !strings.Contains(out, "ok: /lib"+strings.TrimPrefix(path, "/usr/lib")) {
			t.Errorf("no word of %s in\n%s", path, out)
		}
	}
}
