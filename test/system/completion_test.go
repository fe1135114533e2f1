package system

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const programName = "dataflux-func-sidecar"

// completer returns the completions that a shell offers for the last word.
type completer func(words ...string) []string

// inBash calls the function as bash does when Tab is pressed after the last word.
func inBash(t *testing.T) completer {
	const script = `source ../../packaging/completions/dataflux-func-sidecar.bash
		declared=$(complete -p dataflux-func-sidecar) || exit
		[[ $declared =~ -F\ ([^ ]+) ]] || exit
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		${BASH_REMATCH[1]} && printf '%s\n' "${COMPREPLY[@]}"`
	return func(words ...string) []string {
		t.Helper()
		return complete(t, exec.Command("bash", append([]string{"-c", script, "bash", programName}, words...)...))
	}
}

// typedInBash types a line and Tab into a real bash that has no other completions, and returns its
// words then. Settings are commands before it.
func typedInBash(t *testing.T, settings, line string) []string {
	t.Helper()
	typed := fmt.Sprintf("source ../../packaging/completions/dataflux-func-sidecar.bash\n%s\n%s %s\t%s\n",
		settings, programName, line, "\x01printf '%s\\n' \x05 >&3") // at the start, and at the end
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Stdin, cmd.ExtraFiles = strings.NewReader(typed), []*os.File{w}
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=dumb",
		"PATH="+filepath.Dir(testkit.Program(t))+":"+os.Getenv("PATH"))
	screen, err := cmd.CombinedOutput()
	_ = w.Close()
	words, readErr := io.ReadAll(r)
	if err != nil || readErr != nil {
		t.Errorf("%q: %v, %v\n%s", line, err, readErr, screen)
	}
	return strings.Fields(string(words))
}

// inZsh types the words and Tab into a real zsh.
func inZsh(t *testing.T) completer {
	testkit.NeedTools(t, "zsh")
	folder, err := filepath.Abs(filepath.Join(top, "packaging/completions"))
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
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=dumb",
		"PATH="+filepath.Dir(testkit.Program(t))+":"+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, said.String())
	}
	offered := strings.Fields(string(out))
	slices.Sort(offered)
	return offered
}

func TestCompletion_Bash(t *testing.T) {
	t.Parallel()
	offered := inBash(t)
	wantCompletions(t, offered)
	if got := offered("serve", "--state-dir", "/etc/passw"); len(got) != 0 {
		t.Errorf("files are offered for a folder: %q", got)
	}
}

// KEY:ID is completed as a whole. bash splits words at the characters of COMP_WORDBREAKS, and replaces
// the last part alone.
func TestCompletion_Colons(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines()...)
	for _, id := range []string{"same-1", "same-2"} {
		d.cli("run", "--key", "deploy", "--job-id", id, "status").want(t, 0, "$HOME; id -n\n")
		d.cli("shell", "--job-id", id, "true").want(t, 0, "")
	}
	d.cli("shell", "--job-id", "single", "true").want(t, 0, "")
	got := inZsh(t)("logs", "--config", d.config, "--url", "http://"+d.address, "deploy:")
	if want := []string{"deploy:same-1", "deploy:same-2"}; !slices.Equal(got, want) {
		t.Errorf("zsh: got %q, want %q", got, want)
	}
	for _, settings := range []string{"", "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}", "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}", "COMP_WORDBREAKS=' '"} {
		for line, want := range map[string]string{
			"AT deploy:":            "AT deploy:same-",
			"AT deploy:same-2":      "AT deploy:same-2",
			"AT default:same-1 d":   "AT default:same-1 de",
			"AT default:same-1 si":  "AT default:same-1 single",
			"AT --url":              "AT --url",
			"--config=/etc/passw":   "--config=/etc/passwd",
			"--config=/etc/pas:":    "--config=/etc/pas:",
			"--url http://x:8099":   "--url http://x:8099",
			"AT deploy:same-1 --fo": "AT deploy:same-1 --follow",
		} {
			at := strings.NewReplacer("AT", "--config "+d.config+" --url http://"+d.address)
			words := append([]string{programName, "logs"}, strings.Fields(at.Replace(want))...)
			if got := typedInBash(t, settings, "logs "+at.Replace(line)); !slices.Equal(got, words) {
				t.Errorf("%q: %q becomes %q, want %q", settings, line, got, words)
			}
		}
	}
}

func TestCompletion_Zsh(t *testing.T) {
	t.Parallel()
	wantCompletions(t, inZsh(t))
}

// The ids are those of the Sidecar that the line names.
func TestCompletion_JobIDs(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.cli("shell", "--job-id", "ended-1", "true").want(t, 0, "")
	d.cli("shell", "--no-wait", "--job-id", "runs-1", "sleep 60").want(t, 0, "runs-1\n")
	dead := "http://127.0.0.1:1/" // nothing listens, so the result is owed
	d.cli("shell", "--job-id", "owed-1", "--callback", dead, "true").want(t, 0, "")
	for shell, offered := range map[string]completer{"bash": inBash(t), "zsh": inZsh(t)} {
		at := []string{"--config", d.config, "--url", "http://" + d.address}
		for _, test := range []struct {
			command, typed string
			want           []string
		}{
			{"jobs", "", []string{"ended-1", "owed-1", "runs-1"}},
			{"logs", "", []string{"ended-1", "owed-1", "runs-1"}},
			{"logs", "en", []string{"ended-1"}},
			{"wait", "", []string{"runs-1"}},
			{"cancel", "", []string{"runs-1"}},
			{"callbacks", "", []string{"drop", "retry"}},
			{"callbacks retry", "", []string{"owed-1"}},
			{"callbacks drop", "ow", []string{"owed-1"}},
		} {
			command, action, acts := strings.Cut(test.command, " ")
			words := append([]string{command}, at...)
			if acts {
				words = append(words, action)
			}
			words = append(words, test.typed)
			if got := offered(words...); !slices.Equal(got, test.want) {
				t.Errorf("%s: %s %q: got %q, want %q", shell, test.command, test.typed, got, test.want)
			}
		}
		// Without an answer there are no ids, and no message.
		if got := offered("logs", "--config", d.config, "--url", "http://127.0.0.1:3", ""); len(got) != 0 {
			t.Errorf("%s: got %q without a Sidecar, want none", shell, got)
		}
	}
	d.cli("cancel", "--quiet", "runs-1").want(t, 0, "")
}

// The names of keys are those of the configuration, and of actions those of the Sidecar, for the key
// that the line names.
func TestCompletion_KeysAndActions(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines()...)
	for shell, offered := range map[string]completer{"bash": inBash(t), "zsh": inZsh(t)} {
		url := []string{"--url", "http://" + d.address}
		for _, test := range []struct {
			words []string
			want  []string
		}{
			{[]string{"run", "--config", d.config, "--key", ""}, []string{"default", "deploy", "view"}},
			{[]string{"jobs", "--config", d.config, "--key", "de"}, []string{"default", "deploy"}},
			{[]string{"configure", "--config", d.config, "--rotate-key", ""}, []string{"deploy", "view"}},
			{[]string{"configure", "--config", d.config, "--drop-old-secret", ""}, []string{"deploy", "view"}},
			{[]string{"configure", "--config", d.config, "--drop-key", ""}, []string{"deploy", "first", "last", "view"}},
			{[]string{"configure", "--jobs", ""}, []string{"all", "own"}},
			{append([]string{"run", "--config", d.config}, append(url, "")...), []string{"admin", "deploy", "status"}},
			{append([]string{"run", "--config", d.config, "--key", "deploy"}, append(url, "")...), []string{"deploy", "status"}},
			{append([]string{"run", "--config", d.config, "--key", "deploy"}, append(url, "st")...), []string{"status"}},
			{append([]string{"run", "--config", d.config, "--key", "view"}, append(url, "")...), nil},
			{[]string{"run", "--config", d.config, "--url", "http://127.0.0.1:3", ""}, nil},
			{[]string{"run", "--config", "/nonexistent", "--key", ""}, nil},
		} {
			if got := offered(test.words...); !slices.Equal(got, test.want) {
				t.Errorf("%s: %q: got %q, want %q", shell, test.words, got, test.want)
			}
		}
	}
}

// A server cannot have the shell execute what it names.
func TestCompletion_HostileServer(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	key := filepath.Join(folder, "key")
	if err := os.WriteFile(key, []byte("a-key-for-tests-only"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := "$(touch ran-a)`touch ran-b`;touch"
	bash, zsh := inBash(t), inZsh(t)
	for command, data := range map[string]string{
		"logs":            `{"jobs":[{"jobId":"` + name + `"},{"jobId":"fine-1"}]}`,
		"callbacks retry": `{"callbacks":[{"jobId":"` + name + `"},{"jobId":"fine-1"}]}`,
		"run":             `{"actions":[{"name":"` + name + `"},{"name":"fine-1"}]}`,
	} {
		name, action, _ := strings.Cut(command, " ")
		words := []string{name, "--secret-key-file", key, "--url", jsonServer(t, 200, `{"ok":true,"message":"","data":`+data+`}`)}
		words = append(words, strings.Fields(action)...)
		if got := bash(append(words, "")...); !slices.Equal(got, []string{"fine-1"}) {
			t.Errorf("%s: got %q, want fine-1", command, got)
		}
		zsh(append(words, "")...)
	}
	for _, ran := range []string{"ran-a", "ran-b"} {
		if _, err := os.Stat(ran); err == nil {
			t.Errorf("a name of the server was executed: it made %s", ran)
			_ = os.Remove(ran)
		}
	}
}

// wantCompletions compares with --help, so that new options must be added.
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
		{[]string{"help", "conf"}, "configure"},
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
