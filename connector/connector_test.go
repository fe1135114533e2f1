package connector_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// maxRun bounds one run of all the Python tests, which take about 15 s.
const maxRun = 4 * time.Minute

// TestConnector_EveryPython runs the Python tests under each Python, against the program as it is shipped.
func TestConnector_EveryPython(t *testing.T) {
	t.Parallel()
	for _, p := range pythons(t) {
		t.Run(p.version, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			others := []*daemon{startDaemon(t), startDaemon(t)} // the other hosts of a fleet
			out := p.run(t, d, others)
			if testing.Verbose() || t.Failed() {
				t.Logf("%s\n%s", strings.Join(p.command, " "), out)
			}
			checkOutput(t, out)
			for _, one := range append(others, d) {
				if strings.Contains(out, one.key) || strings.Contains(one.log(), one.key) {
					t.Error("the key was printed")
				}
			}
			if t.Failed() {
				t.Logf("log of the daemon:\n%.20000s", d.log())
			}
		})
	}
}

// checkOutput checks what the exit status does not tell: skipped tests, and connections or files that were
// left open.
func checkOutput(t *testing.T, out string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^Ran (\d\d|\d\d\d) tests in `).MatchString(out) || !strings.HasSuffix(out, "\nOK\n") {
		t.Errorf("not all tests ran and passed:\n%.30000s", out)
	}
	for _, sign := range []string{"ResourceWarning", "Exception ignored", "Exception in thread"} {
		if strings.Contains(out, sign) {
			t.Errorf("%s in the output:\n%.30000s", sign, out)
		}
	}
}

// run runs all tests with warnings as errors, in a new folder with the scripts alone.
func (p python) run(t *testing.T, d *daemon, others []*daemon) string {
	t.Helper()
	folder := t.TempDir()
	copyScripts(t, folder)
	writeScriptSet(t, folder)
	d.describe(folder)
	urls := describeOthers(t, folder, others)
	ctx, cancel := context.WithTimeout(t.Context(), maxRun)
	defer cancel()
	args := append(p.arguments(folder), "-B", "-X", "dev", "-W", "error", "-m", "unittest", "--verbose")
	args = append(args, testModules(t, folder)...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = folder
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "SIDECAR_OTHER_URLS=" + urls}, d.environment()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	return string(out)
}

// describeOthers lays down the keys of further daemons, and returns their URLs.
func describeOthers(t *testing.T, folder string, others []*daemon) string {
	t.Helper()
	var urls []string
	for i, d := range others {
		urls = append(urls, "http://"+d.listener.Addr().String())
		name := filepath.Join(folder, fmt.Sprintf("key-other%d", i))
		if err := os.WriteFile(name, []byte(d.key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(urls, " ")
}

func copyScripts(t *testing.T, folder string) {
	t.Helper()
	files, err := filepath.Glob("*.py")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	names := map[string]string{"../docs/zh-CN/keys.md": "zh-CN-keys.md"} // two have one name
	for _, file := range append(files, "../sign/testdata/vectors.json", "README.md",
		"../docs/zh-CN/connector.md", "../docs/keys.md", "../docs/zh-CN/keys.md") {
		text, err := os.ReadFile(file)
		if err == nil {
			name := cmp.Or(names[file], filepath.Base(file))
			err = os.WriteFile(filepath.Join(folder, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writeScriptSet writes what a release has for Func's imports, with the time of release 1.0.0.
func writeScriptSet(t *testing.T, folder string) {
	t.Helper()
	cmd := exec.Command("go", "run", "../packaging/scriptset", "--source", folder, "--time", "1795392000",
		"--zip", filepath.Join(folder, "scripts.zip"), "--tree", filepath.Join(folder, "func"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scriptset: %v\n%s", err, out)
	}
}

// testModules returns the name of every test file, so that no pattern leaves one out.
func testModules(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "test_*.py"))
	if err != nil || len(files) < 8 {
		t.Fatalf("only %d files of tests: %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".py"))
	}
	return names
}
