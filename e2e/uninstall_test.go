package e2e

import (
	"strings"
	"testing"
)

// remains lists what is on the machine of things that an installation makes, the service's state included.
// Left out are backups of useradd's and empty folders of manual pages.
func (m *machine) remains() string {
	m.t.Helper()
	return m.sh(`find /etc /usr/local /usr/lib/systemd /run ! -type d \( -name '*dataflux*' -o -path '*dataflux*' \)
		find /home -path '*dffs*'
		find /var/lib -maxdepth 1 -name 'dataflux*'
		find /usr/local /etc/systemd ! -type d
		getent passwd dffs || true
		getent group dffs || true
		systemctl list-units --all --no-legend 'dataflux*'
		ss -H -l -t -n | grep 8099 || true
		journalctl --list-catalog | grep 'DataFlux' || true`)
}

// difference lists the lines that only one of two lists has.
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

func TestUninstallKeepsWhatIsTheAdministrators(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.run(checkout+"/install.sh", "--uninstall") // a bare machine
	before := m.remains()
	m.install("--bind", "127.0.0.1:8099,/run/sidecar.sock", "--secret-key", givenKey)
	m.write("/etc/systemd/system/"+service+".d/ours.conf", "[Service]\nEnvironment=A=B\n")
	m.client(defaultAddress).shell(t, "echo work > work")
	configuration := m.run("cat", "/etc/dataflux-func-sidecar")

	output := m.uninstall()
	wantSaid(t, output, "removed program, units", "Kept: /etc/dataflux-func-sidecar /var/lib/dataflux-func-sidecar "+
		"/etc/systemd/system/dataflux-func-sidecar.service.d user dffs. To remove that too: sudo "+checkout+"/install.sh --uninstall --purge")
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

	m.install() // what was kept is in force again
	if got := m.client(defaultAddress).shell(t, "cat work"); m.secretKey() != givenKey || got != "work" {
		t.Errorf("installed again, the key is %s and the work %q", m.secretKey(), got)
	}
	m.uninstall()

	output = m.uninstall("--purge")
	wantSaid(t, output, "Removed /etc/dataflux-func-sidecar.", "Removed user dffs.", "Kept /home/dffs, now root's", "sudo rm -r /home/dffs")
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

func TestPurgeLeavesAUserThatWasThereBefore(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.sh("useradd -m -c 'Somebody' dffs")
	user := m.run("getent", "passwd", "dffs")
	m.install()
	m.sh("cp /etc/dataflux-func-sidecar /etc/dataflux-func-sidecar.original; ln -s /root/elsewhere /etc/dataflux-func-sidecar.original.2")
	output := m.uninstall("--purge")
	wantSaid(t, output, "Kept user dffs", "sudo userdel dffs", "Removed /etc/dataflux-func-sidecar.original.", "what it leads to stays: /root/elsewhere")
	if after := m.run("getent", "passwd", "dffs"); after != user {
		t.Errorf("dffs was %s and is %s", user, after)
	}
	if left := m.sh("ls -d /home/dffs/.profile /etc/dataflux* 2>/dev/null || true"); left != "/home/dffs/.profile" {
		t.Errorf("left: %s", left)
	}
	m.sh("userdel -r dffs 2>/dev/null; groupadd dffs") // a group without its user is no obstacle
	m.install()
	m.checkAnswers(defaultAddress)
	m.uninstall("--purge")
	if _, status := m.try("test", "-e", "/home/dffs"); status == 0 {
		t.Error("an untouched home folder is still there")
	}
}

func TestPurgeReadsNothingButFilesInTheHomeOfDffs(t *testing.T) {
	m := installed(t)
	m.client(defaultAddress).shell(t, "rm .profile .bashrc; mkfifo .profile; ln -s /etc/skel/.bashrc .bashrc")
	output := m.run("timeout", "30", checkout+"/install.sh", "--uninstall", "--purge")
	wantSaid(t, output, "Kept /home/dffs, now root's", "Removed user dffs.")
	m.run("test", "-p", "/home/dffs/.profile", "-a", "-L", "/home/dffs/.bashrc")
}

func (m *machine) uninstall(args ...string) (output string) {
	m.t.Helper()
	return m.install(append([]string{"--uninstall"}, args...)...)
}
