package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme_Commands types every command of the `sh` and `console` blocks of README.md, in their
// order. The output that a block shows must appear, up to an ellipsis.
//
// The machine has no Go: the checkout that the first command needs is already built.
func TestReadme_Commands(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	m.serveRelease("127.0.0.1:9000")
	if suite() == "sid" {
		m.letSudoFind()
	}
	shown := readmeCommands(t)
	if len(shown) < 5 {
		t.Fatalf("README.md shows %d commands, want 5 or more", len(shown))
	}
	folder := checkout
	for _, s := range shown {
		typed := strings.ReplaceAll(s.command, "https://YOUR-SERVER", "http://127.0.0.1:9000")
		typed = strings.TrimPrefix(typed, "make build && ")
		out, status := m.try("bash", "-c", "cd "+folder+" && "+typed)
		if status != 0 {
			t.Fatalf("`%s`: got status %d, want 0\n%s", s.command, status, out)
		}
		for line := range strings.Lines(s.output) {
			if want, _, _ := strings.Cut(strings.TrimSpace(line), "…"); !strings.Contains(out, want) {
				t.Errorf("`%s`: got\n%s\nwant the line %q", s.command, out, want)
			}
		}
		if strings.HasPrefix(s.command, "cd dataflux-func-sidecar ") {
			folder += "/dataflux-func-sidecar"
		}
	}
}

// letSudoFind does what troubleshooting.md says for a sudo that omits /usr/local/bin. There it finds
// no program of that folder before.
func (m *machine) letSudoFind() {
	m.t.Helper()
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		m.t.Fatal(err)
	}
	m.sh("printf '#!/bin/sh\n' >/usr/local/bin/probe; chmod 755 /usr/local/bin/probe")
	if said, status := m.try("sudo", "probe"); status == 0 {
		m.t.Errorf("sudo of %s finds /usr/local/bin by itself: %s", suite(), said)
	}
	_, rest, _ := strings.Cut(string(text), "echo 'Defaults secure_path=")
	command, _, _ := strings.Cut(rest, "```")
	m.sh("echo 'Defaults secure_path=" + command)
	m.run("sudo", "probe")
	m.run("rm", "/usr/local/bin/probe")
}

type shownCommand struct{ command, output string }

// readmeCommands reads the commands of README.md: each line of an `sh` block, and each line of a
// `console` block that begins with a dollar sign; the lines below that one are its output.
func readmeCommands(t *testing.T) []shownCommand {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []shownCommand
	for _, block := range regexp.MustCompile("(?ms)^```(sh|console)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[2]) {
			if block[1] == "sh" {
				command, _, _ := strings.Cut(line, "  # ")
				shown = append(shown, shownCommand{command: strings.TrimSpace(command)})
			} else if command, is := strings.CutPrefix(line, "$ "); is {
				shown = append(shown, shownCommand{command: strings.TrimSpace(command)})
			} else {
				shown[len(shown)-1].output += line
			}
		}
	}
	return shown
}

// serveRelease serves the folder that `make dist` writes, without packages, to the machine itself.
func (m *machine) serveRelease(address string) {
	m.t.Helper()
	trackPackaging()
	dist := filepath.Join(m.t.TempDir(), "dist")
	if err := runHere("sh", "../../packaging/dist.sh", "--no-packages", dist); err != nil {
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
