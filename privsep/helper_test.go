package privsep

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The program under testdata/attack is what these tests execute: neither a drop nor a sandbox can
// be undone in the process that runs the tests.

var (
	attackFolder string
	buildAttack  = sync.OnceValues(func() (string, error) {
		path := filepath.Join(attackFolder, "attack")
		build := exec.Command("go", "build", "-trimpath", "-o", path, "./testdata/attack")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		if err != nil {
			return "", errors.New(string(out))
		}
		return path, os.Chmod(path, 0o755)
	})
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

// runTests makes a folder that the user the tests drop to can enter.
func runTests(m *testing.M) int {
	folder, err := os.MkdirTemp("", "privsep-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	if err := os.Chmod(folder, 0o755); err != nil {
		panic(err)
	}
	attackFolder = folder
	return m.Run()
}

// testUID is a user that owns nothing.
const testUID = 65534

// attacker returns a command that runs the attack program, bounded in time.
func attacker(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := buildAttack()
	if err != nil {
		t.Fatalf("cannot build the attack program: %v", err)
	}
	// Not the test's own context: that one ends before its cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=/usr/bin:/bin", "ATTACK_PARENT=" + strconv.Itoa(os.Getpid())}
	return cmd
}

// answer runs a command and returns what it printed, or "killed" when seccomp ended it.
func answer(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			if s.Signal() == syscall.SIGSYS {
				return "killed"
			}
			return "signal: " + s.Signal().String()
		}
	} else if err != nil {
		t.Fatalf("cannot run %v: %v", cmd.Args, err)
	}
	if stderr.Len() > 0 {
		t.Fatalf("%v wrote: %s", cmd.Args, stderr.String())
	}
	return strings.TrimSpace(out.String())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

func needLandlock(t *testing.T, version int) {
	t.Helper()
	abi, err := LandlockABI()
	if err != nil || abi < version {
		skip(t, "needs Landlock ABI "+strconv.Itoa(version)+" or later")
	}
}

// skip fails where the tests are meant to be complete.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal("must not be skipped here: " + reason)
	}
	t.Skip(reason)
}
