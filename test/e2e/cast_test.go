package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// castFile is the picture in README.md that `make cast` records.
const castFile = "../../docs/first-steps.svg"

// castSteps are what the picture types, and a part of what each command must print. The machine is
// thrown away, and both keys that it prints with it.
var castSteps = []struct{ typed, want string }{
	{"cd dataflux-func-sidecar && sudo ./install.sh", "have fun!"},
	{"sudo dataflux-func-sidecar shell 'hostname; id -un'", "sidecar-host\r\ndffs\r\n"},
	{"sudo dataflux-func-sidecar check", "a signed call ran a command as user dffs"},
	{
		"sudo tee -a /etc/dataflux-func-sidecar >/dev/null <<'END'\n" +
			"[ACTION.deploy]\n" +
			"RUN = 'echo \"deployed $VERSION\"'\n" +
			"ENVS = { VERSION = 'v[0-9]+(\\.[0-9]+)*' }\n" +
			"END", "",
	},
	{"sudo dataflux-func-sidecar configure --add-key func --actions deploy --apply", "Reloaded:"},
	{"sudo dataflux-func-sidecar run --key func deploy VERSION=v1.2", "deployed v1.2"},
	{"sudo dataflux-func-sidecar run --key func deploy VERSION='$(id)'", "refused with 400: envs: the value of VERSION does not match"},
	{"sudo dataflux-func-sidecar shell --key func id", "refused with 403: the key func may run the action deploy"},
	{"sudo dataflux-func-sidecar jobs", "hostname; id -un"},
	{"sudo dataflux-func-sidecar keys", "any command"},
	{"sudo journalctl -u dataflux-func-sidecar -n 5 -o cat", "with the key func: action deploy"},
}

// TestCast_FirstSteps types the commands of the picture into a terminal of a new machine. With
// SIDECAR_CAST set it also replaces the picture by what that terminal has shown.
func TestCast_FirstSteps(t *testing.T) {
	m := boot(t)
	m.placeRelease("/root/dataflux-func-sidecar")
	s := m.openTerminal()
	var cast recording
	for _, step := range castSteps {
		shown := s.enter(step.typed)
		if got := shown.text(); !strings.Contains(got, step.want) {
			t.Errorf("`%s`: got\n%s\nwant %q in it", step.typed, got, step.want)
		}
		cast = append(cast, shown)
	}
	if suite() != "bookworm" { // others have other control sequences
		return
	}
	picture, err := cast.picture()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SIDECAR_CAST") != "" && !t.Failed() {
		if err := os.WriteFile(castFile, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// terminal is an interactive shell of a machine in a pseudo-terminal.
type terminal struct {
	t   *testing.T
	in  io.Writer
	out *os.File
}

// openTerminal starts a shell in /root. Its prompts are castPrompt and, for a line that goes on,
// castMore.
func (m *machine) openTerminal() *terminal {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	cmd := m.command(ctx, "script", "--quiet", "--echo", "always", "--command",
		"cd /root; PS1='"+castPrompt+"' PS2='"+castMore+"' exec sh -i", "/dev/null")
	cmd.Env = append(cmd.Env, "TERM=xterm", "PAGER=cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	s := &terminal{m.t, in, out.(*os.File)}
	s.untilPrompt(time.Now())
	s.enter("stty cols 92 rows 28")
	return s
}

// enter types lines, and returns all that the terminal shows up to the prompt after the last one.
func (s *terminal) enter(lines string) (shown exchange) {
	s.t.Helper()
	began := time.Now()
	for line := range strings.SplitSeq(lines, "\n") {
		if _, err := io.WriteString(s.in, line+"\n"); err != nil {
			s.t.Fatal(err)
		}
		shown = append(shown, s.untilPrompt(began)...)
	}
	return shown
}

func (s *terminal) untilPrompt(began time.Time) (shown exchange) {
	s.t.Helper()
	buffer := make([]byte, 1<<16)
	_ = s.out.SetReadDeadline(time.Now().Add(testkit.Patience))
	for {
		n, err := s.out.Read(buffer)
		if err != nil {
			s.t.Fatalf("got no prompt (%v) after\n%s", err, shown.text())
		}
		shown = append(shown, chunk{time.Since(began), string(buffer[:n])})
		got := "\n" + shown.text()
		if strings.HasSuffix(got, "\n"+castPrompt) || strings.HasSuffix(got, "\n"+castMore) {
			return shown
		}
	}
}

// The picture in README.md shows the commands above: after a change of them run `make cast`.
func TestCast_PictureIsOfTheseSteps(t *testing.T) {
	picture, err := os.ReadFile(castFile)
	if err != nil {
		t.Fatal(err)
	}
	got := textOf(t, picture)
	for _, step := range castSteps {
		for line := range strings.SplitSeq(step.typed, "\n") {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("%s: got no line %q, want it; run: make cast", castFile, line)
			}
		}
	}
	if size := len(picture); size > 100_000 || bytes.Contains(picture, []byte("<script")) {
		t.Errorf("got a picture of %d bytes, want at most 100,000, without a script", size)
	}
}
