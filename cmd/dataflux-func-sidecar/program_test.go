// Package main_test proves the program as its users meet it: the real binary, built as it is
// shipped, over real sockets, ended by signals. It imports nothing of ours, so that what it knows of
// the wire contract is a second reading of it.
package main_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// places are what all tests of a run share: the program, and where it was built.
var (
	programDir  string
	programOnce sync.Once
	errProgram  error
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sidecar-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programDir = dir
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // these tests wait far more than they compute
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// program is the path of the binary, built once and with the modes that an installation gives it.
func program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(programDir, "dataflux-func-sidecar")
	programOnce.Do(func() {
		build := exec.Command("go", "build", "-trimpath", "-o", path, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		if err != nil {
			errProgram = fmt.Errorf("cannot build the program: %w\n%s", err, out)
			return
		}
		errProgram = errors.Join(os.Chmod(programDir, 0o755), os.Chmod(path, 0o711))
	})
	if errProgram != nil {
		t.Fatal(errProgram)
	}
	return path
}

// skip is for what a test cannot have here. CI, which must have it, fails instead.
func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal("must not be skipped here: " + reason)
	}
	t.Skip(reason)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can look into the daemon's processes")
	}
}
