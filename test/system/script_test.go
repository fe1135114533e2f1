package system

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dataflux-func-sidecar/test/testkit"
)

// Each script runs the built program against a daemon of its own. In a script $URL is that daemon's,
// $CONFIG its configuration, its key is in SIDECAR_SECRET_KEY, `exits N PROGRAM ...` is exec for an exit status, and `await REGEXP
// PROGRAM ...` runs a program until its output matches.
// SIDECAR_UPDATE_SCRIPTS=1 writes what is printed into the scripts.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               startForScript,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("SIDECAR_UPDATE_SCRIPTS") == "1",
	})
}

// startForScript starts the daemon of a script, with the configuration lines in its file "config".
func startForScript(env *testscript.Env) error {
	t, isTest := env.T().(testing.TB)
	if !isTest {
		return errors.New("the script is not run by a test")
	}
	lines, err := os.ReadFile(filepath.Join(env.WorkDir, "config"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	d := startDaemon(t, string(lines))
	env.Setenv("PATH", filepath.Dir(testkit.Program(t))+":/usr/bin:/bin")
	env.Setenv("URL", "http://"+d.address)
	env.Setenv("CONFIG", d.config)
	env.Setenv("SIDECAR_SECRET_KEY", testKey)
	env.Setenv("TERM", "xterm")
	return nil
}

// exits runs a program that must end with the given exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if failed, isExit := errors.AsType[*exec.ExitError](err); isExit {
		got, err = failed.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("got exit status %d, want %d", got, want)
	}
}

// await runs a program again until its standard output matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await REGEXP PROGRAM [ARGUMENT...]")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(testkit.Patience); ; time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if got := ts.ReadFile("stdout"); want.MatchString(got) {
			return
		} else if time.Now().After(end) {
			ts.Fatalf("got %q, want a match of %q", got, args[0])
		}
	}
}
