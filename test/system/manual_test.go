package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

const (
	manualOfProgram = "packaging/man/dataflux-func-sidecar.8"
	manualOfConfig  = "packaging/man/dataflux-func-sidecar.5"
)

// help returns the output of --help.
func help(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(testkit.Program(t), append(args, "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q --help: %v\n%s", args, err, out)
	}
	return string(out)
}

// commands returns those that the program lists.
func commands(t *testing.T) []string {
	t.Helper()
	return firsts(found(help(t), `(?m)^  ([a-z]+) +\S`))
}

// options returns the options of a command in alphabetical order, without dashes.
func options(t *testing.T, command string) []string {
	t.Helper()
	if command == "help" {
		return nil
	}
	return firsts(found(help(t, command), `(?m)^  --?([a-z-]+)`))
}

func firsts(matches [][]string) []string {
	var all []string
	for _, match := range matches {
		all = append(all, match[0])
	}
	return all
}

// sections splits a page at a macro such as .Sh or .Ss. The key is the rest of that line.
func sections(text, macro string) map[string]string {
	all := map[string]string{}
	for _, section := range strings.Split(text, "\n"+macro+" ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		all[name] = body
	}
	return all
}

func TestManual_CommandsAndOptions(t *testing.T) {
	t.Parallel()
	page := sections(document(t, manualOfProgram), ".Sh")
	described, synopsis := sections("\n"+page["COMMANDS"], ".Ss"), sections("\n"+page["SYNOPSIS"], ".Cm")
	known := commands(t)
	if len(known) < 6 || len(described) != len(known) || len(synopsis) != len(known) {
		t.Errorf("the program has %q; %d of them are described, %d are in the synopsis", known, len(described), len(synopsis))
	}
	for _, command := range known {
		want := options(t, command)
		if got := firsts(found(described[command], `(?m)^\.It Fl -([a-z-]+)`)); !slices.Equal(got, want) {
			t.Errorf("%s has the options %q\nits section   %q", command, want, got)
		}
		got := firsts(found(synopsis[command], `(?m)^\.Op Fl -([a-z-]+)`))
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has the options %q\nthe synopsis  %q", command, want, got)
		}
	}
}

func TestManual_Version(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(testkit.Program(t), "version").Output()
	said := regexp.MustCompile(`^dataflux-func-sidecar (\S+) \(released (\S+) `).FindStringSubmatch(string(out))
	if err != nil || said == nil {
		t.Fatalf("%v %s", err, out)
	}
	released, err := time.Parse(time.DateOnly, said[2])
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{manualOfProgram, manualOfConfig} {
		for _, line := range []string{
			".Dd " + released.Format("January 2, 2006"),
			`.Os "dataflux-func-sidecar ` + said[1] + `"`,
		} {
			if !strings.Contains(document(t, page), "\n"+line+"\n") {
				t.Errorf("%s lacks the line %s", page, line)
			}
		}
	}
}

// mandoc has a linter; man-db uses groff.
func TestManual_Formatters(t *testing.T) {
	t.Parallel()
	for tool, args := range map[string][]string{
		"mandoc": {"-T", "lint", "-W", "warning"}, "groff": {"-mdoc", "-ww", "-z", "-Tutf8"},
	} {
		testkit.NeedTools(t, tool)
		for _, page := range []string{manualOfProgram, manualOfConfig} {
			out, err := exec.Command(tool, append(args, filepath.Join(top, page))...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%s: %v\n%s", tool, err, out)
			}
		}
	}
}

func TestManual_JournalFields(t *testing.T) {
	t.Parallel()
	known := firsts(found(document(t, "internal/journal/journal.go"), `= "(SIDECAR_[A-Z0-9_]+)"`))
	journal := sections(document(t, manualOfProgram), ".Sh")["JOURNAL"]
	if got := firsts(found(journal, `(?m)^\.It Ev (\S+)`)); len(known) < 13 || !slices.Equal(got, known) {
		t.Errorf("journal.go has %q\nthe manual    %q", known, got)
	}
}

// keysOfManual returns the examples of the manual by key.
func keysOfManual(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, text := range sections(document(t, manualOfConfig), ".It Cm") {
		key := found(name, `^([A-Z_]+) No = (?:Qq ?)?(\S*)$`)
		if key == nil {
			t.Fatalf("no key and default: %s", name)
		}
		_, example, _ := strings.Cut(text, "\n.Dl ")
		example, _, _ = strings.Cut(example, "\n")
		all[key[0][0]] = strings.ReplaceAll(example, `\(dq`, `"`)
	}
	return all
}

func TestManual_Examples(t *testing.T) {
	t.Parallel()
	_, examples, _ := strings.Cut(document(t, manualOfConfig), "\n.Sh EXAMPLES\n")
	all := firsts(found(examples, `\n\.Bd [^\n]*\n((?s:.*?))\n\.Ed`))
	for name, example := range keysOfManual(t) {
		if !strings.HasPrefix(example, name+"=") {
			t.Errorf("%s has no example", name)
		}
		all = append(all, example)
	}
	path := filepath.Join(t.TempDir(), "config")
	for _, example := range all {
		// A blank line separates successive versions of a file.
		for _, text := range strings.Split(example, "\n\n") {
			if !strings.Contains(text, "SECRET_KEY=") {
				text += "\nSECRET_KEY=\"" + testKey + "\"\n"
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(testkit.Program(t), "sign", "--config", path, "http://127.0.0.1/").CombinedOutput(); err != nil {
				t.Errorf("%s\nis refused: %v\n%s", text, err, out)
			}
		}
	}
	if len(all) < 28 {
		t.Errorf("only %d examples were found", len(all))
	}
}
