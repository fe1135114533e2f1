package system

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"dataflux-func-sidecar/test/testkit"
)

// Each script runs the built program against a daemon of its own. In a script $URL is that daemon's,
// its key is in SIDECAR_SECRET_KEY, and `exits N PROGRAM ...` is exec for an exit status.
// SIDECAR_UPDATE_SCRIPTS=1 writes what is printed into the scripts.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               startForScript,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
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
