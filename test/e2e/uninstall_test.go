package e2e

import (
	"strings"
	"testing"
)

// remains lists what an installation left on the machine, including the service's state, without
// the backups of useradd and empty folders of manual pages.
func (m *machine) remains() string {
	m.t.Helper()
	return m.sh(`find /etc /usr/local /usr/lib/systemd /run ! -type d \( -name '*dataflux*' -o -path '*dataflux*' \)
		find /home -path '*dffs*'
		find /var/lib -maxdepth 1 -name 'dataflux*'
		find /usr/local /etc/systemd ! -type d
		getent passwd dffs dffs-sidecar || true
		getent group dffs dffs-sidecar || true
		systemctl list-units --all --no-legend 'dataflux*'
		ss -H -l -t -n | grep 8099 || true
		journalctl --list-catalog | grep 'DataFlux' || true`)
}

// difference returns the lines that only one of the two lists has.
func difference(before, after string) string {
	var found []string
	for _, of := range []struct{ mark, lines, others string }{{"-", before, after}, {"+", after, before}} {
		for line := range strings.SplitSeq(of.lines, "\n") {
			if !strings.Contains("\n"+of.others+"\n", "\n"+line+"\n") {
				found = append(found, of.mark+line)
			}
		}
	}
	return strings.Join(found, "\n")
}

func TestUninstall_KeepsConfigurationAndState(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.run(checkout+"/install.sh", "--uninstall") // the machine is empty
	before := m.remains()
	m.install("--bind", "127.0.0.1:8099,/run/sidecar.sock", "--secret-key", givenKey)
	m.write("/etc/systemd/system/"+service+".d/ours.conf", "[Service]\nEnvironment=A=B\n")
	m.client(defaultAddress).shell(t, "echo work > work")
	configuration := m.run("cat", "/etc/dataflux-func-sidecar")

	output := m.uninstall()
	wantSaid(t, output, "removed program, units", "Kept: /etc/dataflux-func-sidecar /var/lib/dataflux-func-sidecar "+
		"/etc/systemd/system/dataflux-func-sidecar.service.d user dffs user dffs-sidecar. To remove them too: sudo "+checkout+"/install.sh --uninstall --purge")
	m.checkRefuses(defaultAddress)
	for _, gone := range []string{
		"/usr/local/bin/dataflux-func-sidecar", "/etc/systemd/system/" + service, "/etc/systemd/system/" + socket + ".d", "/run/sidecar.sock",
		"/etc/systemd/system/multi-user.target.wants/" + service, "/etc/systemd/system/sockets.target.wants/" + socket,
	} {
		if _, status := m.try("test", "-e", gone, "-o", "-L", gone); status == 0 {
			t.Errorf("%s is still there", gone)
		}
	}
	if after := m.run("cat", "/etc/dataflux-func-sidecar"); after != configuration {
		t.Errorf("the configuration was\n%s\nand is\n%s", configuration, after)
	}
	wantSaid(t, m.uninstall(), "Neither program nor units", "Kept: ")

	m.install() // the kept configuration is in force again
	if got := m.client(defaultAddress).shell(t, "cat work"); m.secretKey() != givenKey || got != "work" {
		t.Errorf("installed again, the key is %s and the work %q", m.secretKey(), got)
	}
	m.uninstall()

	output = m.uninstall("--purge")
	wantSaid(t, output, "Removed /etc/dataflux-func-sidecar.", "Removed user dffs.", "Removed user dffs-sidecar.", "Kept /home/dffs, now owned by root", "sudo rm -r /home/dffs")
	if got := m.run("stat", "-c", "%a %U %G", "/home/dffs"); got != "700 root root" || m.run("cat", "/home/dffs/work") != "work" {
		t.Errorf("/home/dffs is %s", got)
	}
	m.run("rm", "-r", "/home/dffs")
	if changed := difference(before, m.remains()); changed != "" {
		t.Errorf("bare again, but for\n%s", changed)
	}
	output = m.uninstall("--purge")
	if strings.Contains(output, "Removed") || strings.Contains(output, "Kept") || !strings.Contains(output, "Neither") {
		t.Errorf("on a bare machine:\n%s", output)
	}
}

func TestPurge_UserOfTheAdministrator(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("useradd -m -c 'Somebody' dffs")
	user := m.run("getent", "passwd", "dffs")
	m.install()
	m.sh("cp /etc/dataflux-func-sidecar /etc/dataflux-func-sidecar.original; ln -s /root/elsewhere /etc/dataflux-func-sidecar.original.2")
	output := m.uninstall("--purge")
	wantSaid(t, output, "Kept user dffs", "sudo userdel dffs", "Removed /etc/dataflux-func-sidecar.original.", "its target stays: /root/elsewhere")
	if after := m.run("getent", "passwd", "dffs"); after != user {
		t.Errorf("dffs was %s and is %s", user, after)
	}
	if left := m.sh("ls -d /home/dffs/.profile /etc/dataflux* 2>/dev/null || true"); left != "/home/dffs/.profile" {
		t.Errorf("left: %s", left)
	}
	m.sh("userdel -r dffs 2>/dev/null; groupadd dffs") // a group without its user must not prevent it
	m.install()
	m.checkAnswers(defaultAddress)
	m.uninstall("--purge")
	if _, status := m.try("test", "-e", "/home/dffs"); status == 0 {
		t.Error("an untouched home folder is still there")
	}
}

func TestPurge_ReadsOnlyFilesInTheHome(t *testing.T) {
	m := installed(t)
	m.client(defaultAddress).shell(t, "rm .profile .bashrc .bash_logout; mkfifo .profile; ln -s /etc/skel/.bashrc .bashrc; mkdir .bash_logout")
	output := m.run("timeout", "30", checkout+"/install.sh", "--uninstall", "--purge")
	wantSaid(t, output, "Kept /home/dffs, now owned by root", "Removed user dffs.")
	m.run("test", "-p", "/home/dffs/.profile", "-a", "-L", "/home/dffs/.bashrc", "-a", "-d", "/home/dffs/.bash_logout")
}

// A process of dffs outside the service replaces a file by a pipe, and back, all the time.
func TestPurge_PipeThatComesAndGoes(t *testing.T) {
	m := installed(t)
	m.sh(`systemd-run --quiet --unit=swapper --uid=dffs --working-directory=/home/dffs sh -c 'cp .profile kept; mkfifo pipe
		while :; do ln -f pipe .profile; ln -f kept .profile; done'`)
	m.eventually("it is at work", func() bool { _, status := m.try("test", "-p", "/home/dffs/.profile"); return status == 0 })
	output, status := m.try("timeout", "30", checkout+"/install.sh", "--uninstall", "--purge")
	if status == 0 || !strings.Contains(output, "end its processes (ps -U dffs) and run this again") {
		t.Errorf("status %d\n%s", status, output)
	}
	if is := m.run("stat", "-c", "%a %U", "/home/dffs"); is != "700 root" {
		t.Errorf("/home/dffs is %s", is)
	}
	m.try("systemctl", "stop", "swapper")
	wantSaid(t, m.uninstall("--purge"), "Removed user dffs.", "Removed user dffs-sidecar.")
}

// Pipes, devices, links and directories in the place of files are removed without opening or
// following them.
func TestPurge_NoFilesWhereFilesAreExpected(t *testing.T) {
	for _, kind := range []struct{ name, script string }{
		{"pipes", `mkfifo "$1"`},
		{"devices", `mknod "$1" c 5 0`},
		{"links", `ln -s /srv/elsewhere "$1"`},
		{"directories", `mkdir "$1"; echo inside > "$1/file"`},
	} {
		t.Run(kind.name, func(t *testing.T) {
			m := installed(t)
			before := m.sh("mkdir /srv/elsewhere; echo kept > /srv/elsewhere/file; ls -lR /srv/elsewhere")
			m.sh("systemctl stop " + service + `; put() { rm -rf "$1"; ` + kind.script + `; }
				for path in /etc/dataflux-func-sidecar /etc/dataflux-func-sidecar.original /etc/.dataflux-func-sidecar.1.tmp \
					/var/lib/dataflux-func-sidecar /etc/systemd/system/` + service + `.bak /etc/systemd/system/` + service + `.d; do put "$path"; done
				rm -rf /home/dffs; put /home/dffs`)
			output := m.run("timeout", "60", checkout+"/install.sh", "--uninstall", "--purge")
			wantSaid(t, output, "Removed /var/lib/dataflux-func-sidecar.", "Removed user dffs.", "Removed user dffs-sidecar.")
			if left := m.sh("find /etc /var/lib -name '*dataflux-func-sidecar*'"); left != "" {
				t.Errorf("got remaining files, want none:\n%s", left)
			}
			if after := m.sh("ls -lR /srv/elsewhere"); after != before {
				t.Errorf("what the links lead to was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

func (m *machine) uninstall(args ...string) (output string) {
	m.t.Helper()
	return m.install(append([]string{"--uninstall"}, args...)...)
}
