package packaging

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// caller describes a user of download.sh: a shell, and a PATH with only the named tools.
type caller struct {
	shell []string
	tools []string // "busybox:wget" is the wget of BusyBox
}

// The tools that the script needs in addition to a shell, a downloader and a checksum tool.
const plainTools = "cat chmod cut grep head mkdir mktemp mv rm sed sort tail timeout tr uname uniq wc"

func toolsWith(box string, others ...string) []string {
	var tools []string
	for tool := range strings.FieldsSeq(plainTools) {
		tools = append(tools, box+tool)
	}
	return append(tools, others...)
}

// callers lists combinations of shells and downloaders of real machines.
func callers() map[string]caller {
	return map[string]caller{
		"dash, curl":                {[]string{"dash"}, toolsWith("", "curl", "sha256sum")},
		"dash, wget":                {[]string{"dash"}, toolsWith("", "wget", "openssl")},
		"bash, curl":                {[]string{"bash"}, toolsWith("", "curl", "shasum")},
		"bash, wget":                {[]string{"bash"}, toolsWith("", "wget", "sha256sum")},
		"BusyBox, curl":             {[]string{"busybox", "sh"}, toolsWith("busybox:", "curl", "busybox:sha256sum")},
		"BusyBox with its own wget": {[]string{"busybox", "sh"}, toolsWith("busybox:", "busybox:wget", "busybox:sha256sum")},
	}
}

func plainCaller() caller { return callers()["dash, curl"] }

func eachCaller(t *testing.T, test func(t *testing.T, who caller)) {
	for called, who := range callers() {
		t.Run(called, func(t *testing.T) {
			t.Parallel()
			test(t, who)
		})
	}
}

func (c caller) without(tool string) caller {
	var tools []string
	for _, other := range c.tools {
		if strings.TrimPrefix(other, "busybox:") != tool {
			tools = append(tools, other)
		}
	}
	return caller{c.shell, tools}
}

// place is the environment of a caller: a folder, a home and a PATH.
type place struct {
	caller
	dir, home, path string
	script          string
}

func newPlace(t *testing.T, who caller) place {
	t.Helper()
	p := place{caller: who, dir: t.TempDir(), home: t.TempDir(), path: t.TempDir()}
	for _, tool := range append(who.tools, who.shell[0]) {
		program, applet, boxed := strings.Cut(tool, ":")
		found, err := exec.LookPath(program)
		testkit.Need(t, err == nil, "download.sh is tested with "+program)
		if !boxed {
			applet = program
		}
		if err := os.Symlink(found, filepath.Join(p.path, applet)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	var err error
	p.script, err = filepath.Abs("download.sh")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// command returns download.sh with its arguments, not started.
func (p place) command(arguments ...string) *exec.Cmd {
	line := append(append([]string{}, p.shell[1:]...), p.script)
	command := exec.Command(filepath.Join(p.path, p.shell[0]), append(line, arguments...)...)
	command.Dir = p.dir
	command.Env = []string{"PATH=" + p.path, "HOME=" + p.home}
	return command
}

// run returns standard output and standard error of download.sh, and its error. The longest
// download here takes seconds; an endless one is killed.
func (p place) run(arguments ...string) (out, told string, exit int) {
	command := p.command(arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		return "", err.Error(), -1
	}
	defer time.AfterFunc(time.Minute, func() { _ = command.Process.Kill() }).Stop()
	_ = command.Wait()
	return stdout.String(), stderr.String(), command.ProcessState.ExitCode()
}

// mustRun is run for a download that must succeed.
func (p place) mustRun(t *testing.T, arguments ...string) (out, told string) {
	t.Helper()
	out, told, exit := p.run(arguments...)
	if exit != 0 {
		t.Fatalf("exit status %d\n%s%s", exit, out, told)
	}
	return out, told
}

// mustFail runs a download that must be refused with one line and at most one hint, and change
// nothing.
func (p place) mustFail(t *testing.T, want string, arguments ...string) {
	t.Helper()
	before := contents(t, p.dir)
	out, told, exit := p.run(arguments...)
	refusal := strings.TrimSpace(regexp.MustCompile(`(?m)^(warning:|Architecture:|Downloading|mkdir:) .*\n`).ReplaceAllString(told, ""))
	wellFormed := regexp.MustCompile(`\Adownload\.sh: [^\n]+(\nhint: [^\n]+)?\z`).MatchString(refusal)
	if exit != 1 || out != "" || !wellFormed || !strings.Contains(refusal, want) {
		t.Errorf("exit status %d, want 1 with %q\n%s%s", exit, want, out, told)
	}
	mustBeSame(t, before, contents(t, p.dir))
}

func mustBeSame(t *testing.T, before, after map[string]string) {
	t.Helper()
	for file := range after {
		if before[file] != after[file] {
			t.Errorf("%s is new or changed", file)
		}
	}
	for file := range before {
		if _, there := after[file]; !there {
			t.Errorf("%s is gone", file)
		}
	}
}

// scriptWith returns download.sh with another value of one of its constants.
func (p place) scriptWith(t *testing.T, was, is string) place {
	t.Helper()
	script, err := os.ReadFile("download.sh")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(script), "\n"+was+"\n", "\n"+is+"\n", 1)
	if changed == string(script) {
		t.Fatalf("download.sh has no line %q", was)
	}
	p.script = filepath.Join(t.TempDir(), "download.sh")
	if err := writeProgram(p.script, []byte(changed)); err != nil {
		t.Fatal(err)
	}
	return p
}
