package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const programName = "dataflux-func-sidecar"

// completer says what a shell offers for the last of the words.
type completer func(words ...string) []string

// inBash calls the function as bash does when Tab is pressed behind the last word.
func inBash(t *testing.T) completer {
	const script = `source ../../completions/dataflux-func-sidecar.bash
		declared=$(complete -p dataflux-func-sidecar) || exit
		[[ $declared =~ -F\ ([^ ]+) ]] || exit
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		${BASH_REMATCH[1]} && printf '%s\n' "${COMPREPLY[@]}"`
	return func(words ...string) []string {
		t.Helper()
		return complete(t, exec.Command("bash", append([]string{"-c", script, "bash", programName}, words...)...))
	}
}

// inZsh types the words and Tab into a real zsh.
func inZsh(t *testing.T) completer {
	if _, err := exec.LookPath("zsh"); err != nil {
		skip(t, "zsh is missing, to complete in")
	}
	folder, err := filepath.Abs(filepath.Join(top, "completions"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	return func(words ...string) []string {
		t.Helper()
		line := strings.Join(append([]string{programName}, words...), " ")
		return complete(t, exec.Command("zsh", "testdata/complete.zsh", folder, work, line))
	}
}

func complete(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var said strings.Builder
	cmd.Stderr = &said
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=dumb")
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, said.String())
	}
	offered := strings.Fields(string(out))
	slices.Sort(offered)
	return offered
}

func TestBashCompletesWhatTheProgramTakes(t *testing.T) {
	t.Parallel()
	offered := inBash(t)
	wantCompletions(t, offered)
	// bash takes --config=FILE apart.
	if got := offered("serve", "--config", "=", "/etc/passw"); !slices.Contains(got, "/etc/passwd") {
		t.Errorf("--config=/etc/passw: %q", got)
	}
	if got := offered("serve", "--state-dir", "/etc/passw"); len(got) != 0 {
		t.Errorf("files are offered for a folder: %q", got)
	}
}

func TestZshCompletesWhatTheProgramTakes(t *testing.T) {
	t.Parallel()
	wantCompletions(t, inZsh(t))
}

// wantCompletions compares with --help, so that nothing new is forgotten here.
func wantCompletions(t *testing.T, offered completer) {
	t.Helper()
	known := commands(t)
	for _, command := range known {
		var want []string
		for _, option := range append(options(t, command), "help") {
			want = append(want, "--"+option)
		}
		slices.Sort(want)
		if command == "help" {
			want = nil
		}
		if got := offered(command, "--"); !slices.Equal(got, want) {
			t.Errorf("%s takes %q\noffered are %q", command, want, got)
		}
	}
	slices.Sort(known)
	if got := offered(""); !slices.Equal(got, known) {
		t.Errorf("the commands are %q\noffered are %q", known, got)
	}
	wantArguments(t, offered)
}

func wantArguments(t *testing.T, offered completer) {
	t.Helper()
	for _, test := range []struct {
		words []string
		want  string // bash offers the whole path, zsh its end
	}{
		{[]string{"conf"}, "configure"},
		{[]string{"check", "--config", "/etc/passw"}, "passwd"},
		{[]string{"serve", "--state-dir", "/va"}, "var"},
		{[]string{"configure", "--unit-dir", "/etc/system"}, "systemd"},
		{[]string{"check", "--user", "nobo"}, "nobody"},
		{[]string{"sign", "DEL"}, "DELETE"},
	} {
		got := offered(test.words...)
		if !slices.ContainsFunc(got, func(o string) bool { return filepath.Base(o) == test.want }) {
			t.Errorf("%q: %q is not among %q", test.words, test.want, got)
		}
	}
}
