package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryCommandOfTheDocumentsIsProvedOrSaysWhyNot(t *testing.T) {
	known := map[string]int{}
	for _, s := range steps() {
		known[s.command]++
	}
	for command := range elsewhere() {
		known[command]++
	}
	for command := range untried() {
		known[command]++
	}
	shown := map[string]bool{}
	for _, s := range shownCommands(t) {
		shown[s.command] = true
		if known[s.command] != 1 {
			t.Errorf("%s shows a command that is in %d places of documents_proofs_test.go, want 1:\n%s", s.document, known[s.command], s.command)
		}
	}
	for command := range known {
		if !shown[command] {
			t.Errorf("no document shows `%s` any more", command)
		}
	}
}

func TestWhatIsProvedElsewhereIsThere(t *testing.T) {
	for command, proof := range elsewhere() {
		if text, err := os.ReadFile(proof[0]); err != nil || !strings.Contains(string(text), proof[1]) {
			t.Errorf("`%s`: %s has no %q (%v)", command, proof[0], proof[1], err)
		}
	}
}

func TestMakeHelpListsTheTargets(t *testing.T) {
	out, err := exec.Command("make", "-C", "..", "help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, target := range []string{"run", "test", "dist", "matrix"} {
		if !strings.Contains(string(out), "\n"+target+" ") {
			t.Errorf("no %s in\n%s", target, out)
		}
	}
}

// One machine goes through everything that the documents have their readers type.
func TestTheCommandsOfTheDocumentsDoWhatTheDocumentsShow(t *testing.T) {
	m := boot(t)
	m.serveRelease("127.0.0.1:9000")
	m.write("/usr/local/bin/make", "#!/bin/sh\necho \"$1 of $(id -un)\"\n")
	m.run("chmod", "0755", "/usr/local/bin/make")
	shown := map[string]string{}
	for _, s := range shownCommands(t) {
		shown[s.command] += s.output
	}
	folder := "/root"
	for _, s := range steps() {
		m.checkStep(s, shown[s.command], folder)
		if strings.HasPrefix(s.command, "cd dataflux-func-sidecar ") {
			folder = "/root/dataflux-func-sidecar"
		}
	}
}

// serveRelease serves what `make dist` writes, without packages, to the machine itself.
func (m *machine) serveRelease(address string) {
	m.t.Helper()
	lookAtPackaging()
	dist := filepath.Join(m.t.TempDir(), "dist")
	if err := runHere("sh", "../release/dist.sh", "--no-packages", dist); err != nil {
		m.t.Fatal(err)
	}
	if err := os.CopyFS(m.path("/srv/dist"), os.DirFS(dist)); err != nil {
		m.t.Fatal(err)
	}
	host, port, _ := strings.Cut(address, ":")
	m.run("systemd-run", "--quiet", "--unit=release-server", "python3", "-m", "http.server", "--bind", host, "--directory", "/srv/dist", port)
	m.eventually("the release is served", func() bool {
		_, status := m.try("curl", "-fsS", "-o", "/dev/null", "http://"+address+"/version")
		return status == 0
	})
}

func (m *machine) checkStep(s step, shown, folder string) {
	m.t.Helper()
	if s.before != "" {
		if out, status := m.try("sh", "-c", "cd "+folder+" && { "+s.before+"\n}"); status != 0 {
			m.t.Fatalf("before `%s`: status %d\n%s", s.command, status, out)
		}
	}
	typed := strings.ReplaceAll(s.command, "https://YOUR-SERVER", "http://127.0.0.1:9000")
	out, status := m.try("bash", "-c", "cd "+folder+" && "+typed)
	if status != 0 || !strings.Contains(out, s.says) {
		m.t.Fatalf("`%s`: status %d; must say %q:\n%s", s.command, status, s.says, out)
	}
	if line, is := missing(shown, out); is {
		m.t.Errorf("`%s`: a document shows the line\n%s\nbut it says\n%s", s.command, line, out)
	}
}
