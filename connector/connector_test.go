package connector_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// testTime bounds one run of all the Python tests, which take some 30 s.
const testTime = 4 * time.Minute

// The scripts are tested in Python, as they are used, against the program as it is shipped.
func TestTheConnectorUnderEveryPython(t *testing.T) {
	t.Parallel()
	for _, p := range pythons(t) {
		t.Run(p.version, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			out := p.run(t, d)
			if testing.Verbose() || t.Failed() {
				t.Logf("%s\n%s", strings.Join(p.command, " "), out)
			}
			judge(t, out)
			if strings.Contains(out, d.key) || strings.Contains(d.log(), d.key) {
				t.Error("the key was printed")
			}
			if t.Failed() {
				t.Logf("log of the daemon:\n%.20000s", d.log())
			}
		})
	}
}

// judge wants more of a run than its exit status: a test that was skipped, and a connection or a file that
// was left open, must not go unseen.
func judge(t *testing.T, out string) {
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

// run runs every test with warnings as errors, in a folder of its own with nothing but what they need.
func (p python) run(t *testing.T, d *daemon) string {
	t.Helper()
	folder := t.TempDir()
	copyScripts(t, folder)
	d.describe(folder)
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	args := append(p.arguments(folder), "-B", "-X", "dev", "-W", "error", "-m", "unittest", "--verbose")
	args = append(args, testModules(t, folder)...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = folder
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, d.environment()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	return string(out)
}

func copyScripts(t *testing.T, folder string) {
	t.Helper()
	files, err := filepath.Glob("*.py")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range append(files, "../sign/testdata/vectors.json") {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, filepath.Base(file)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testModules names each file of tests, so that none is left out by a pattern.
func testModules(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "test_*.py"))
	if err != nil || len(files) < 6 {
		t.Fatalf("only %d files of tests: %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".py"))
	}
	return names
}
