package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	manualOfProgram = "man/dataflux-func-sidecar.8"
	manualOfConfig  = "man/dataflux-func-sidecar.5"
)

// help is what the program says about itself.
func help(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(program(t), append(args, "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q --help: %v\n%s", args, err, out)
	}
	return string(out)
}

// commands are those that the program lists, `help` itself added.
func commands(t *testing.T) []string {
	t.Helper()
	return append(firsts(found(help(t), `(?m)^  ([a-z]+) +\S`)), "help")
}

// options are those of a command, in the order of the alphabet, without dashes.
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

// sections takes a page apart at a heading such as .Sh or .Ss.
func sections(text, macro string) map[string]string {
	all := map[string]string{}
	for _, section := range strings.Split(text, "\n"+macro+" ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		all[name] = body
	}
	return all
}

func TestTheManualHasEveryCommandWithItsOptionsAndNoOther(t *testing.T) {
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

func TestTheManualIsOfThisVersion(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(program(t), "version").Output()
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

// The formatters of both worlds: mandoc, which has a linter, and groff, which man-db uses.
func TestBothFormattersAcceptTheManual(t *testing.T) {
	t.Parallel()
	for tool, args := range map[string][]string{
		"mandoc": {"-T", "lint", "-W", "warning"}, "groff": {"-mdoc", "-ww", "-z", "-Tutf8"},
	} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, tool+" is missing, to format the manual")
		}
		for _, page := range []string{manualOfProgram, manualOfConfig} {
			out, err := exec.Command(tool, append(args, filepath.Join(top, page))...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%s: %v\n%s", tool, err, out)
			}
		}
	}
}

func TestTheManualHasEveryJournalField(t *testing.T) {
	t.Parallel()
	known := firsts(found(document(t, "journal/journal.go"), `= "(SIDECAR_[A-Z_]+)"`))
	journal := sections(document(t, manualOfProgram), ".Sh")["JOURNAL"]
	if got := firsts(found(journal, `(?m)^\.It Ev (\S+)`)); len(known) < 13 || !slices.Equal(got, known) {
		t.Errorf("journal.go has %q\nthe manual    %q", known, got)
	}
}

// keyOfManual is what the manual says of one key of the configuration.
type keyOfManual struct{ defaultValue, text, example string }

func keysOfManual(t *testing.T) map[string]keyOfManual {
	t.Helper()
	all := map[string]keyOfManual{}
	for name, text := range sections(document(t, manualOfConfig), ".It Cm") {
		key := found(name, `^([A-Z_]+) No = (?:Qq ?)?(\S*)$`)
		if key == nil {
			t.Fatalf("no key and default: %s", name)
		}
		value := key[0][1]
		if strings.Contains(name, " Qq") {
			value = `"` + value + `"`
		}
		text, example, _ := strings.Cut(text, "\n.Dl ")
		example, _, _ = strings.Cut(example, "\n")
		all[key[0][0]] = keyOfManual{value, text, strings.ReplaceAll(example, `\(dq`, `"`)}
	}
	return all
}

// The reference file is the authority: other tests compare it with the program.
func TestTheManualHasEveryConfigurationKeyWithDefaultAndBounds(t *testing.T) {
	t.Parallel()
	manual, numbers := keysOfManual(t), 0
	// Comments above each key; what they have in brackets says a number once more.
	reference := found(document(t, "config/reference.toml"), `\n\n((?:# .*\n)+)#([A-Z_]+) = (.*)`)
	if len(reference) < 26 || len(manual) != len(reference) {
		t.Fatalf("the reference file has %d keys, the manual %d", len(reference), len(manual))
	}
	for _, key := range reference {
		comment, name, value := regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(key[0], ""), key[1], key[2]
		entry := manual[name]
		if entry.defaultValue != value {
			t.Errorf("%s = %s, says the reference file; the manual says %s", name, value, entry.defaultValue)
		}
		for _, number := range found(comment, `[^.\w:]((?:\d+)(?:s|m|h)?)\b`) {
			numbers++
			if !regexp.MustCompile(`(^|[^.\w:])` + number[0] + `\b`).MatchString(entry.text) {
				t.Errorf("%s: the manual lacks the number %s of\n%s", name, number[0], comment)
			}
		}
	}
	if numbers < 40 {
		t.Errorf("only %d numbers were compared", numbers)
	}
}

func TestTheProgramAcceptsEveryExampleOfTheManual(t *testing.T) {
	t.Parallel()
	_, examples, _ := strings.Cut(document(t, manualOfConfig), "\n.Sh EXAMPLES\n")
	all := firsts(found(examples, `\n\.Bd [^\n]*\n((?s:.*?))\n\.Ed`))
	for name, key := range keysOfManual(t) {
		if !strings.HasPrefix(key.example, name+"=") {
			t.Errorf("%s has no example", name)
		}
		all = append(all, key.example)
	}
	path := filepath.Join(t.TempDir(), "config")
	for _, example := range all {
		// A blank line is between what one file has first and then.
		for _, text := range strings.Split(example, "\n\n") {
			if !strings.Contains(text, "SECRET_KEY=") {
				text += "\nSECRET_KEY=\"" + testKey + "\"\n"
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(program(t), "sign", "--config", path, "http://127.0.0.1/").CombinedOutput(); err != nil {
				t.Errorf("%s\nis refused: %v\n%s", text, err, out)
			}
		}
	}
	if len(all) < 28 {
		t.Errorf("only %d examples were found", len(all))
	}
}
