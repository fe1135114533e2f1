package e2e

import (
	"os"
	"strings"
	"testing"
)

const needrestartFile = "/etc/needrestart/conf.d/dataflux-func-sidecar.conf"

// needrestart finds a command that uses an old library, whose process belongs to the unit. It would
// restart the service without the file that packages and install.sh write.
func TestNeedrestart_LeavesTheServiceAlone(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.addTool("needrestart")
	m.install()
	m.sh("echo 'DRAIN_TIMEOUT = \"1s\"' >> " + configFile + "; systemctl restart " + service)
	shipped, err := os.ReadFile("../../packaging/packages/needrestart.conf")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.run("cat", needrestartFile) + "\n"; got != string(shipped) {
		t.Errorf("install.sh wrote %q, packages have %q", got, shipped)
	}
	m.useOldLibrary()
	executor := m.executor()
	if said := m.needrestart(); !strings.Contains(said, service) || m.executor() != executor {
		t.Errorf("got executor %s, want %s as before; needrestart says\n%s", m.executor(), executor, said)
	}

	m.sh("mv " + needrestartFile + " /root/kept")
	said := m.needrestart()
	if m.executor() == executor {
		t.Errorf("without the file it does not restart the service either, so this test shows nothing:\n%s", said)
	}
	m.sh("mv /root/kept " + needrestartFile)
	m.uninstall()
	if _, status := m.try("test", "-e", needrestartFile); status == 0 {
		t.Errorf("got %s after a removal, want none", needrestartFile)
	}
}

// useOldLibrary starts a command that maps a library, and replaces the library.
func (m *machine) useOldLibrary() {
	m.t.Helper()
	m.sh("cp /lib/*/libc.so.6 /usr/lib/libold.so")
	m.client(defaultAddress).answer(m.t, map[string]any{
		"command": "LD_PRELOAD=/usr/lib/libold.so exec sleep 300", "wait": false, "jobId": "old",
	})
	m.eventually("the command has mapped the library", func() bool {
		_, status := m.try("sh", "-c", "grep -q libold /proc/$(pgrep -u dffs -x sleep)/maps")
		return status == 0
	})
	m.sh("cp /usr/lib/libold.so /usr/lib/libold.new; mv /usr/lib/libold.new /usr/lib/libold.so")
}

// needrestart restarts services without questions, and returns what it says.
func (m *machine) needrestart() string {
	m.t.Helper()
	return m.run("env", "DEBIAN_FRONTEND=noninteractive", "needrestart", "-v", "-l", "-r", "a")
}
