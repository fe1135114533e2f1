package legacy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"dataflux-func-sidecar/internal/config"
)

// shells are those that could have sourced the original's file: what sh is here, and others at
// hand.
func shells() [][]string {
	usable := [][]string{{"/bin/sh"}}
	for _, other := range [][]string{{"bash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		if path, err := exec.LookPath(other[0]); err == nil {
			usable = append(usable, append([]string{path}, other[1:]...))
		}
	}
	return usable
}

// reading is what a file sets.
type reading struct{ bind, key string }

// sourcedBy returns what a shell reads that sources each of the files. It has no PATH and an empty
// folder to work in: whatever a file held, nothing could be run.
func sourcedBy(t *testing.T, shell, texts []string) []reading {
	t.Helper()
	files, empty := t.TempDir(), t.TempDir()
	for i, text := range texts {
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("%06d", i)), []byte(text),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `PATH=/nonexistent; for f in "$1"/*; do (. "$f" 2>/dev/null; printf '%s\0%s\0\n' "$BIND" "$SECRET_KEY"); done`
	cmd := exec.Command(shell[0], append(shell[1:len(shell):len(shell)], "-c", script, "sh",
		files)...)
	cmd.Env, cmd.Dir = []string{}, empty
	out, err := cmd.CombinedOutput()
	if left, _ := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Fatalf("%v: %v, left %v, printed %q", shell, err, left, out)
	}
	var readings []reading
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00\n"), "\x00\n") {
		bind, key, _ := strings.Cut(line, "\x00")
		readings = append(readings, reading{bind, key})
	}
	if len(readings) != len(texts) {
		t.Fatalf("%v: got %d of %d files: %q", shell, len(readings), len(texts), out)
	}
	return readings
}

// What is accepted of the original's files says the same as to any shell that sourced it, and so
// does what it is rewritten to. The files are random, but made of what means something to shells.
func TestRewrite_SameValuesAsShells(t *testing.T) {
	const count = 300
	var texts, becomes []string
	var notes []string
	random := rand.New(rand.NewPCG(8099, 1))
	for tried := 0; tried < 100*count && len(texts) < count; tried++ {
		text := randomSourced(random)
		if rewritten, err := Rewrite("f", []byte(text)); err == nil {
			texts, becomes = append(texts, text), append(becomes, string(rewritten.Data))
			notes = append(notes, strings.Join(rewritten.Notes, "\n"))
		}
	}
	if len(texts) < count {
		t.Fatalf("got %d files that are accepted, want %d", len(texts), count)
	}
	for _, shell := range shells() {
		was, is := sourcedBy(t, shell, texts), sourcedBy(t, shell, becomes)
		for i, text := range texts {
			want := reading{strings.TrimSuffix(was[i].bind, "\r"), strings.TrimSuffix(was[i].key,
				"\r")}
			if got := readTOML(t, becomes[i]); got != want {
				t.Errorf("%v reads %q from %q; rewritten to %q it says %q", shell, want, text,
					becomes[i], got)
			}
			if is[i] != want && !strings.Contains(notes[i], "take the backup") {
				t.Errorf("%v reads %q from %q, and %q from what it became, %q", shell, want, text,
					is[i], becomes[i])
			}
		}
	}
}

func readTOML(t *testing.T, text string) reading {
	t.Helper()
	var values map[string]any
	if err := toml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	bind, _ := values["BIND"].(string)
	key, _ := values["SECRET_KEY"].(string)
	return reading{bind, key}
}

var blankAtReturn = regexp.MustCompile(`[ \t]+\r\n`)

// randomSourced makes a few lines of which every piece is special to shells in some place.
func randomSourced(random *rand.Rand) string {
	starts := []string{
		"BIND=", "SECRET_KEY=", "BIND=", "SECRET_KEY=", "FOO=", "export BIND=",
		"\texport \tSECRET_KEY=", "  ", "#", "# c ", "",
	}
	pieces := []string{
		"a", "b7", ".", ":", "=", ",", "%", "!", "^", "-", "@", "é", "密钥", "'", "'", `"`, `"`, `\`, "$", "#", " ", "\t", "~", "{", "}", "*", "[", "]", "?",
		"`", ";", "(", "&", "|", `\'`, `\"`, `\\`, `\$`, `\ `, `'x'`, `"x"`, `"$"`, `"\a"`, `"\\"`, `"'"`, `'"'`, "$a", "${a}", "$(a)", "$'", ":~", " #c", "\x7f", "\xff", "\u200b",
	}
	end := []string{"\n", "\n", "\n", "\r\n"}[random.IntN(4)]
	var text strings.Builder
	for range 1 + random.IntN(4) {
		text.WriteString(starts[random.IntN(len(starts))])
		for range random.IntN(5) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		text.WriteString(end)
	}
	// Of a blank before the CR a shell makes a command's name, and would not set the variable.
	return blankAtReturn.ReplaceAllString(text.String(), "\r\n")
}

func FuzzRewrite(f *testing.F) {
	for _, seed := range []string{
		"BIND=127.0.0.1:8099,172.17.0.1:8099\nSECRET_KEY=a\n", "export SECRET_KEY='it'\\''s' # c\r\n", "SECRET_KEY=\"a\\$\\b\"x\\ y\nFOO=1", "SECRET_KEY=12", "# c\n\nBIND=",
		"BIND=$(id)\nSECRET_KEY=`id`", "SECRET_KEY=\"a\n", "BIND=~:~;\\", "SECRET_KEY=\xff\x00\u2028", "BIND=a b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = ReadDifferently(data)
		rewritten, err := Rewrite("f", data)
		if err != nil {
			return
		}
		if config.IsLegacy(rewritten.Data) || len(ReadDifferently(rewritten.Data)) > 0 && !strings.Contains(strings.Join(rewritten.Notes, ""), "take the backup") {
			t.Errorf("%q: got %q, which is not our form", data, rewritten.Data)
		}
		if bytes.Count(rewritten.Data, []byte("\n")) != bytes.Count(append(bytes.TrimSuffix(data, []byte("\n")), '\n'), []byte("\n"))+2 {
			t.Errorf("%q: got %q, want each line in its place", data, rewritten.Data)
		}
	})
}
