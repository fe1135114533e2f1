package e2e

import (
	"strings"
	"testing"
)

// behind is the rest of the last line that has a mark.
func behind(t *testing.T, mark, text string) string {
	t.Helper()
	at := strings.LastIndex(text, mark)
	if at < 0 {
		t.Fatalf("no %q in\n%s", mark, text)
	}
	rest, _, _ := strings.Cut(text[at+len(mark):], "\n")
	return rest
}

func (m *machine) checkIsGone(path string) {
	m.t.Helper()
	m.eventually(path+" is gone", func() bool { // the sockets stop a moment after the service
		_, status := m.try("test", "-e", path)
		return status != 0
	})
}

func TestAUnixSocketTakenOutOfBindLeavesNoFile(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200,/run/sidecar.sock")
	m.sh(behind(t, "to apply: ", m.run("dataflux-func-sidecar", "configure", "--bind", "127.0.0.1:8200,/run/other.sock")))
	m.checkAnswers("127.0.0.1:8200", "/run/other.sock")
	m.checkIsGone("/run/sidecar.sock")

	m.install("--bind", "127.0.0.1:8200")
	m.checkAnswers("127.0.0.1:8200")
	m.checkIsGone("/run/other.sock")
}

func TestAReloadAfterAChangeOfBindIsMendedAsTheServiceSays(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200")
	m.run("dataflux-func-sidecar", "configure", "--bind", "127.0.0.1:8201")
	m.run("systemctl", "daemon-reload") // by anybody, as by the installation of a package
	_, _ = m.try("systemctl", "restart", service)
	const mark = "when root runs: "
	m.eventually("the service says what helps", func() bool {
		return strings.Contains(m.run("journalctl", "--no-pager", "-o", "cat", "-u", service), mark)
	})
	m.sh(behind(t, mark, m.run("journalctl", "--no-pager", "-o", "cat", "-u", service)))
	m.checkAnswers("127.0.0.1:8201")
	m.checkRefuses("127.0.0.1:8200")
}
