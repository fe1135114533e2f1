package e2e

import (
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// addDirectory gives the machine a second name service, as LDAP or SSSD would be: its users and
// groups are not in /etc/passwd and /etc/group.
func (m *machine) addDirectory(passwd, group string) {
	m.t.Helper()
	m.sh("sed -i 's/^\\(passwd\\|group\\):.*/\\1: files extrausers/' /etc/nsswitch.conf; mkdir -p /var/lib/extrausers\n" +
		"printf '%s' '" + passwd + "' > /var/lib/extrausers/passwd; printf '%s' '" + group + "' > /var/lib/extrausers/group")
	_, status := m.try("getent", "group", "reports")
	testkit.Need(m.t, status == 0, "the tree has no libnss-extrausers, as it is older than tree.sh: remove "+treePath())
}

const (
	directoryUser   = "dffs:*:70001:70002:of a directory:/home/directory/dffs:/bin/bash\n"
	directoryGroups = "functions:*:70002:\nreports:*:70003:other,dffs\nothers:*:70004:other\n"
)

func TestDirectoryUser_HasItsIDsAndGroups(t *testing.T) {
	m := boot(t)
	m.addDirectory(directoryUser, directoryGroups)
	m.placeCheckout()
	m.install()
	if local := m.sh("grep -c '^dffs:' /etc/passwd /etc/group || true"); local != "/etc/passwd:0\n/etc/group:0" {
		t.Fatalf("dffs is a local user: %s", local)
	}
	c := m.client(defaultAddress)
	for command, want := range map[string]string{
		"id -u; id -g; id -G; id -Gn":      "70001\n70002\n70002 70003\nfunctions reports",
		"echo $USER $LOGNAME $HOME; pwd":   "dffs dffs /home/directory/dffs\n/home/directory/dffs",
		"grep ^Groups: /proc/self/status":  "Groups:\t70002 70003 ",
		"touch ~/file; stat -c %u:%g file": "70001:70002",
	} {
		if got := c.shell(t, command); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	if said := m.run("dataflux-func-sidecar", "check"); !strings.Contains(said, "ok: user dffs exists, uid 70001") {
		t.Errorf("check says\n%s", said)
	}
	if restarts := m.run("systemctl", "show", "--value", "-p", "NRestarts", service); restarts != "0" {
		t.Errorf("the service was restarted %s times", restarts)
	}
}

func TestDirectoryUser_GroupsForALocalUser(t *testing.T) {
	m := installed(t)
	m.addDirectory("", directoryGroups)
	m.run("systemctl", "restart", service)
	if got := m.client(defaultAddress).shell(t, "id -Gn"); got != "dffs reports" {
		t.Errorf("the groups are %q", got)
	}
	// The daemon starts without the directory, and the log says what is missing.
	m.replaceTool("id")
	m.run("systemctl", "restart", service)
	if got := m.client(defaultAddress).shell(t, "/usr/bin/id.real -Gn"); got != "dffs" {
		t.Errorf("without the directory the groups are %q", got)
	}
	m.awaitEntry("those of /etc/group alone, as /usr/bin/id did not answer")
	if said, _ := m.try("dataflux-func-sidecar", "check"); !strings.Contains(said, "warning: The groups of user \"dffs\" are those of /etc/group alone") {
		t.Errorf("check says\n%s", said)
	}
}

// replaceTool makes a tool hang, as if it waited for a directory service that never answers.
func (m *machine) replaceTool(name string) {
	m.t.Helper()
	m.sh("mv /usr/bin/" + name + " /usr/bin/" + name + ".real; printf '#!/bin/sh\\nexec sleep 600\\n' > /usr/bin/" + name + "; chmod 0755 /usr/bin/" + name)
}

func TestDirectoryUser_DirectoryThatHangs(t *testing.T) {
	m := boot(t)
	m.addDirectory(directoryUser, directoryGroups)
	m.placeCheckout()
	m.install()
	m.replaceTool("getent")
	if said, status := m.try("systemctl", "restart", service); status == 0 {
		t.Errorf("the service started: %s", said)
	}
	m.awaitEntry("getent did not answer within .* and was killed; hint: look at the directory service")
	m.run("mv", "/usr/bin/getent.real", "/usr/bin/getent")
	m.eventually("the service starts by itself once the directory answers", func() bool { return m.state(service) == "active" })
	if got := m.client(defaultAddress).shell(t, "id -G"); got != "70002 70003" {
		t.Errorf("the groups are %q", got)
	}
}
