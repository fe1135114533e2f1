package e2e

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

const dist = "/root/dist"

// placeDist copies a release folder with both architectures. The archive of the other architecture
// is invalid, because it must not be read.
func (m *machine) placeDist() {
	m.t.Helper()
	here, there := "linux-amd64", "linux-arm"
	if runtime.GOARCH == "arm64" {
		here, there = there, here
	}
	m.placeRelease(dist)
	m.sh("cd " + dist + "; mkdir " + here + " " + there + "; mv *.tar.gz " + here + "; echo none >" + there + "/dataflux-func-sidecar.tar.gz")
	m.sum()
}

// sum writes the checksums as `make dist` does.
func (m *machine) sum() {
	m.t.Helper()
	m.sh("cd " + dist + "; find . -type f ! -path ./sha256sums -printf '%P\\0' | sort -z | xargs -0 sha256sum >/tmp/sums; mv /tmp/sums sha256sums")
}

// refusal is an installation that must fail with the given reason and change nothing.
func (m *machine) refusal(said string, script string) {
	m.t.Helper()
	before := m.snapshot()
	output, status := m.try("sh", "-c", script)
	if status != 1 || !strings.Contains(output, said) {
		m.t.Errorf("%s: status %d, not saying %q:\n%s", script, status, said, output)
	}
	if after := m.snapshot(); after != before {
		m.t.Errorf("%s: refused, yet it was\n%s\nand is\n%s", script, before, after)
	}
}

func TestInstall_ReleaseFolderOfTwoArchitectures(t *testing.T) {
	m := boot(t)
	m.placeDist()
	m.run(dist + "/install.sh")
	m.checkServes()
	for _, file := range []string{
		"/usr/local/bin/dataflux-func-sidecar", "/usr/lib/systemd/catalog/dataflux-func-sidecar.catalog",
		"/usr/local/share/man/man8/dataflux-func-sidecar.8", "/usr/local/share/man/man5/dataflux-func-sidecar.5",
	} {
		m.run("test", "-s", file)
	}
	m.eventually("the journal explains that the service is ready", func() bool {
		return strings.Contains(m.run("journalctl", "-x", "--no-pager", "-u", service), "Subject: DataFlux Func Sidecar is ready")
	})
}

func TestInstall_BrokenRelease(t *testing.T) {
	m := boot(t)
	m.placeDist()
	install := dist + "/install.sh"
	for _, part := range []string{"dataflux-func-sidecar.catalog", "dataflux-func-sidecar.5", ports} {
		m.refusal(part+" is missing", "mv "+dist+"/"+part+" /tmp; "+install+"; status=$?; mv /tmp/"+part+" "+dist+"; exit $status")
	}
	m.refusal("is damaged", "cd "+dist+"; cp -p "+socket+" /tmp; echo >>"+socket+"; ./install.sh; status=$?; cp -p /tmp/"+socket+" .; exit $status")
	m.refusal("is not listed", "cd "+dist+"; cp -p sha256sums /tmp; sed -i '/[.]catalog$/d' sha256sums; ./install.sh; status=$?; cp -p /tmp/sha256sums .; exit $status")
	m.sh("cd " + dist + "; for file in linux-*/*.gz; do printf '\\001' | dd of=$file bs=1 seek=40 conv=notrunc status=none; done")
	m.refusal("tar.gz is damaged", install)
	m.sum()
	m.refusal("cannot unpack the program from", install)
	m.sh("rm -r " + dist + "/linux-*")
	m.refusal("must be in "+dist, install)
}

func TestInstall_HostThatCannotRunIt(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh"
	m.write("/root/bin/uname", "#!/bin/sh\n[ \"$1\" = -m ] && echo riscv64 || PATH=/usr/bin:/bin exec uname \"$@\"\n")
	m.run("chmod", "+x", "/root/bin/uname")
	m.refusal("no Sidecar for riscv64", "PATH=/root/bin:$PATH "+install)

	// The machine type in the header of the program, which the kernel checks.
	m.sh("printf '\\003' | dd of=" + checkout + "/bin/dataflux-func-sidecar bs=1 seek=18 conv=notrunc status=none")
	m.refusal("does not run on this machine", install)
	m.placeProgram(checkout + "/bin/dataflux-func-sidecar")

	mounted := "exec unshare --mount sh -c 'mount --bind /usr/local /usr/local; mount -o remount,bind,%s /usr/local; exec " + install + "'"
	m.refusal("mount -o remount,rw /usr/local", strings.ReplaceAll(mounted, "%s", "ro"))
	m.refusal("mount -o remount,exec /usr/local", strings.ReplaceAll(mounted, "%s", "noexec"))
}

func TestInstall_OverAPackage(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.write("/root/deb/DEBIAN/control", "Package: dataflux-func-sidecar\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a test\n")
	m.write("/root/deb/DEBIAN/conffiles", "/etc/dataflux-test\n")
	m.write("/root/deb/etc/dataflux-test", "\n")
	m.sh("chmod 0755 /root/deb/DEBIAN; dpkg-deb --build /root/deb /root/test.deb; dpkg -i /root/test.deb")
	m.refusal("sudo apt install ./FILE.deb", checkout+"/install.sh")
	m.refusal("sudo apt remove", checkout+"/install.sh --uninstall --purge")
	m.run("dpkg", "--remove", "dataflux-func-sidecar") // its configuration stays: dpkg calls this state config-files

	// Debian has no RPM packages: this program replaces rpm.
	m.write("/root/bin/rpm", "#!/bin/sh\n[ \"$*\" = '-q dataflux-func-sidecar' ]\n")
	m.run("chmod", "+x", "/root/bin/rpm")
	m.refusal("sudo dnf install ./FILE.rpm", "PATH=/root/bin:$PATH "+checkout+"/install.sh")
	m.install()
}

// On some systems /usr is read-only, and /usr/local is not.
func TestInstall_ReadOnlyUsr(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	output := m.run("unshare", "--mount", "sh", "-c", `mount --bind /usr/lib/systemd /usr/lib/systemd
		mount -o remount,bind,ro /usr/lib/systemd; exec `+checkout+`/install.sh`)
	if !strings.Contains(output, "warning: /usr/lib/systemd/catalog/dataflux-func-sidecar.catalog could not be written") {
		t.Errorf("it does not say so:\n%s", output)
	}
	m.checkServes()
}

func TestInstall_StandardOutput(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	for range 2 { // a first installation, and one that keeps the configuration
		m.sh(checkout + "/install.sh >/root/said")
		said, err := os.ReadFile(m.path("/root/said"))
		if want := block("127.0.0.1:8099,172.17.0.1:8099", m.secretKey()) + "\n"; err != nil || string(said) != want {
			t.Errorf("got %q (%v), want %q", said, err, want)
		}
	}
	if said := m.sh(checkout + "/install.sh --uninstall 2>/dev/null"); said != "" {
		t.Errorf("a removal says %q", said)
	}
}
