package e2e

import (
	"strings"
	"testing"
)

// Each cure that is printed works. One machine for all, as each step starts from a bare host.
func TestInstall_RefusedPlaces(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh"
	m.sh("mount -t tmpfs -o ro tmpfs /home")
	m.refusal("cannot make /home/dffs, the home directory of user dffs, and nothing was changed", install)
	output, _ := m.tryInstall()
	m.sh(textAfter(t, "which this installation keeps: ", output))
	m.sh("mount -t tmpfs -o ro tmpfs /usr/local") // without the folder bin
	m.refusal("mount -o remount,rw /usr/local", install)
	output, _ = m.tryInstall()
	m.sh(textAfter(t, "mount it writable: ", output) + "; mkdir /usr/local/bin")

	m.sh("ip link add docker0 type bridge; ip address add 10.9.0.1/24 dev docker0; ip link add br-func type bridge; ip address add 172.17.0.1/16 dev br-func")
	m.refusal("docker0 has 10.9.0.1, and another interface has 172.17.0.1", install)
	output, _ = m.tryInstall()
	m.sh(install + " --bind " + strings.TrimSuffix(textAfter(t, "--bind 127.0.0.1:8099,10.9.0.1:8099, or --bind ", output), " for both"))
	m.wantServed("127.0.0.1:8099,10.9.0.1:8099,172.17.0.1:8099")
	if home := m.client(defaultAddress).shell(t, "pwd"); home != "/var/lib/dffs" {
		t.Errorf("commands start in %s, want /var/lib/dffs", home)
	}

	m.sh("ip address add 172.17.0.1/16 dev docker0") // it has the stock address too: no doubt
	m.uninstall("--purge")
	output = m.install("--bind", "127.0.0.1:8099,192.0.2.77:8099")
	wantSaid(t, output, "warning: no interface of this host has 192.0.2.77 now")

	m.sh("mount -o bind,ro /etc /etc")
	wantSaid(t, m.install(), "Nothing to change") // so nothing need be writable
	m.refusal("read-only file system", install+" --bind 127.0.0.1:8099")
	m.sh("umount --lazy /etc")

	m.sh("systemctl stop " + service + "; echo 'TLS_CERTIFICATE = \"/nonexistent/c.pem\"\nTLS_KEY = \"/nonexistent/k.pem\"' >>" + configFile)
	output, status := m.tryInstall()
	if said := textAfter(t, "the service did not start: ", output); status != 1 || !strings.Contains(said, "/nonexistent/c.pem") {
		t.Errorf("status %d, want 1 and the reason of the failed start:\n%s", status, output)
	}
	wantSaid(t, output, "\nhint: ")
}

// The manual of DataFlux Func has four files downloaded by hand; others take all files of a release.
func TestInstall_DownloadByHand(t *testing.T) {
	m := boot(t)
	m.placeRelease(dist)
	m.sh("cd " + dist + `; gunzip dataflux-func-sidecar.tar.gz
		tar -rf dataflux-func-sidecar.tar *.service *.socket *.path *.catalog *.5 *.8; gzip dataflux-func-sidecar.tar
		mkdir /root/hand; cp dataflux-func-sidecar.tar.gz dataflux-func-sidecar.service /root/hand; cp install.sh /root/hand/run-sidecar.sh; echo 1.0.0 >/root/hand/version`)
	m.sh("sh /root/hand/run-sidecar.sh")
	m.checkServes()
	for _, file := range []string{"/etc/systemd/system/" + socket, "/etc/systemd/system/" + metrics, "/usr/local/share/man/man5/dataflux-func-sidecar.5"} {
		m.sh("cmp " + file + " " + dist + "/$(basename " + file + ")")
	}
	wantSaid(t, m.run("sh", "/root/hand/run-sidecar.sh"), "Nothing to change")
	m.runFromSource()

	// The list of a release names the archive in its folder.
	m.sh("cd " + dist + "; case $(uname -m) in x86_64) folder=linux-amd64 ;; *) folder=linux-arm ;; esac; mkdir $folder; mv *.tar.gz $folder")
	m.sum()
	m.sh("cd " + dist + "; mv linux-*/*.tar.gz .; rmdir linux-*")
	wantSaid(t, m.run(dist+"/install.sh"), "Nothing to change")
	m.sh("cd " + dist + "; printf x >>dataflux-func-sidecar.tar.gz")
	m.refusal("tar.gz is damaged", dist+"/install.sh")
}

// runFromSource is `make run` beside an installed service, on the next port and on a given address.
func (m *machine) runFromSource() {
	m.t.Helper()
	m.placeProgram(checkout + "/bin/dataflux-func-sidecar")
	m.place("../../packaging/run-from-source.sh", checkout+"/packaging/run-from-source.sh", 0o755)
	for _, test := range []struct{ bind, address, folder, note string }{
		{"", "127.0.0.1:8100", "run/8100", "note: port 8099 is taken, so this takes 8100"},
		{"127.0.0.1:8300", "127.0.0.1:8300", "run", ""},
	} {
		m.run("truncate", "--size=0", "/root/said") // it is read before that unit has opened it
		m.run("systemd-run", "--quiet", "--unit=from-source", "--setenv=BIND="+test.bind, "sh", "-c",
			"exec "+checkout+"/packaging/run-from-source.sh --user nobody >/root/said 2>&1")
		m.eventually("it serves", func() bool { return strings.Contains(m.run("cat", "/root/said"), "Ready: ") })
		said := m.run("cat", "/root/said")
		wantSaid(m.t, said, test.note, "Starting on "+test.address, "curl http://"+test.address+"\n", "shell --config "+test.folder+"/config")
		if got := m.sh("cd " + checkout + "; bin/dataflux-func-sidecar shell" + textAfter(m.t, "bin/dataflux-func-sidecar shell", said)); !strings.Contains(got, "(nobody)") {
			m.t.Errorf("the printed call printed %q", got)
		}
		m.run("systemctl", "stop", "from-source")
	}
}
