package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shownCommand is a command that a document shows, with the output that the document shows for it.
type shownCommand struct{ document, command, output string }

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
	comment   = regexp.MustCompile(`\s+# .*$`)
	indented  = regexp.MustCompile(`(?m)^    \S.*$`)
)

// documentsWithCommands are README.md and everything below docs/. The Chinese README has the same
// blocks; a test beside the program compares them.
func documentsWithCommands(t *testing.T) []string {
	t.Helper()
	more, err := filepath.Glob("../docs/*.md")
	if err != nil || len(more) == 0 {
		t.Fatalf("no documents in docs/: %v", err)
	}
	return append(more, "../README.md")
}

// shownCommands reads the blocks `sh`, where each line is a command, and `console`, where those begin with $.
func shownCommands(t *testing.T) []shownCommand {
	t.Helper()
	var shown []shownCommand
	for _, name := range documentsWithCommands(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
			switch block[1] {
			case "sh":
				shown = append(shown, readScript(name, block[2])...)
			case "console":
				shown = append(shown, readSession(name, block[2])...)
			case "text", "toml", "python":
			default:
				t.Errorf("%s: a block of code must say sh, console, text, toml or python, not %q:\n%s", name, block[1], block[2])
			}
		}
		if line := indented.FindString(codeBlock.ReplaceAllString(string(text), "")); line != "" {
			t.Errorf("%s: %q is code without a fence, in which no command would be found", name, line)
		}
	}
	return shown
}

func readScript(document, block string) []shownCommand {
	var shown []shownCommand
	for line := range strings.Lines(block) {
		if command := strings.TrimSpace(comment.ReplaceAllString(strings.TrimSpace(line), "")); command != "" {
			shown = append(shown, shownCommand{document: document, command: command})
		}
	}
	return shown
}

func readSession(document, block string) []shownCommand {
	var shown []shownCommand
	for line := range strings.Lines(block) {
		if command, isCommand := strings.CutPrefix(line, "$ "); isCommand {
			shown = append(shown, shownCommand{document: document, command: strings.TrimSpace(command)})
			continue
		}
		last := &shown[len(shown)-1]
		if more, goesOn := strings.CutPrefix(line, "> "); goesOn {
			last.command += " " + strings.TrimSpace(more)
		} else {
			last.output += line
		}
	}
	return shown
}

var (
	randomID  = regexp.MustCompile(`\b([a-z2-7]{16}|[A-Z2-7]{32})\b`)
	numbers   = regexp.MustCompile(`[0-9]+`)
	durations = regexp.MustCompile(`#(\.#)?(ms|s)\b`)
	blanks    = regexp.MustCompile(`[ \t]+`)
)

// masked is text without what differs from one run to the next: numbers, random names and the width of columns.
func masked(text string) string {
	text = numbers.ReplaceAllString(randomID.ReplaceAllString(text, "ID"), "#")
	return blanks.ReplaceAllString(durations.ReplaceAllString(text, "TIME"), " ")
}

// missing returns the first shown line that the output does not have. A line is compared up to its "…".
func missing(shown, output string) (line string, found bool) {
	output = masked(output)
	for line := range strings.Lines(shown) {
		want, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "…")
		if !strings.Contains(output, masked(want)) {
			return want, true
		}
	}
	return "", false
}

func TestShownOutputIsComparedWithoutWhatDiffers(t *testing.T) {
	output := "dffs    12     1 serve\nstdout: 7 bytes in 1.3s as abcdefghijklmnop\n"
	for shown, want := range map[string]bool{
		"dffs 4711 1 serve\n…\n":                           false,
		"stdout: 8 bytes in 14ms as ponmlkjihgfedcba\n":    false,
		"stdout: 8 bytes in …\n":                           false,
		"dffs 4711 1 network\n":                            true,
		"dffs 4711 1 serve\nstderr: 8 bytes\n":             true,
		"stdout: 8 bytes in 14ms as ponmlkjihgfedcba no\n": true,
	} {
		if _, got := missing(shown, output); got != want {
			t.Errorf("%q: a line is missing: %v", shown, got)
		}
	}
}
