// Package testkit has what the tests of the whole program share: the program as it is shipped, a
// folder for a whole test run, skips that fail where nothing may be skipped, and a wait for a
// condition.
//
// It imports no package of the program, so that the tests remain an independent reading of the wire
// contract.
package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Name is the name of the program, of its units and of its packages.
const Name = "dataflux-func-sidecar"

// Patience bounds every wait for something that must happen. It is generous, as a busy machine is
// no fault of the program: a test that passes never waits that long.
const Patience = 2 * time.Minute

// pollInterval is the time between two looks at a condition.
const pollInterval = 20 * time.Millisecond

// Main runs the tests of a package, removes Scratch and ends the process. TestMain calls it.
func Main(m *testing.M) {
	status := m.Run()
	_ = os.RemoveAll(Scratch())
	os.Exit(status)
}

// Scratch is a folder that lasts as long as the test process. Every user can read it, so that a
// program in it can be executed by the users of commands and roles.
var Scratch = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "sidecar-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		panic(err)
	}
	return dir
})

// Root is the top folder of the repository.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod above the folder of the test")
		}
		dir = filepath.Dir(dir)
	}
	panic(err)
})

// Program is the path of the program, built once in a test process, as `make build` does and with
// the mode that an installation gives it.
func Program(t testing.TB) string {
	t.Helper()
	path, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var builtProgram = sync.OnceValues(func() (string, error) {
	TrackFiles(".", ".go")
	path := filepath.Join(Scratch(), Name)
	if err := Build(path); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o711)
})

// Build builds the program of these sources into a file. Flags of `go build` and variables such as
// GOARCH=arm64 may be added.
func Build(path string, settings ...string) error {
	args := []string{"build", "-trimpath", "-o", path}
	environment := append(os.Environ(), "CGO_ENABLED=0")
	for _, setting := range settings {
		if strings.HasPrefix(setting, "-") {
			args = append(args, setting)
		} else {
			environment = append(environment, setting)
		}
	}
	cmd := exec.Command("go", append(args, "./cmd/"+Name)...)
	cmd.Dir, cmd.Env = Root(), environment
	return Explain(cmd)
}

// TrackFiles looks at all files below a folder of the repository whose names end in suffix. `go
// test` keeps a result until a file changes that the test has looked at, and these tests depend on
// more than their package.
func TrackFiles(folder, suffix string) {
	_ = filepath.WalkDir(filepath.Join(Root(), folder), func(path string, entry fs.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() && entry.Name() == ".git" {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, suffix) {
			_, _ = os.Stat(path)
		}
		return nil
	})
}

// Run runs the program to its end, with the given standard input.
func Run(t testing.TB, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, said strings.Builder
	cmd := exec.Command(Program(t), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// Explain runs cmd. Its error holds the command and what it printed.
func Explain(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w\n%s", cmd, err, out)
	}
	return nil
}

// Need skips a test whose host lacks something. With SIDECAR_NO_SKIP=1, as in CI, the test fails.
func Need(t testing.TB, met bool, reason string) {
	t.Helper()
	switch {
	case met:
	case os.Getenv("SIDECAR_NO_SKIP") == "1":
		t.Fatal("must not be skipped here: " + reason)
	default:
		t.Skip(reason)
	}
}

// NeedRoot skips a test that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	Need(t, os.Geteuid() == 0, "needs root")
}

// NeedTools skips a test that runs a tool which this host lacks.
func NeedTools(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		Need(t, err == nil, "needs "+tool)
	}
}

// Eventually polls until the condition holds, and fails the test when it does not within Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
		if holds() {
			return
		}
		time.Sleep(pollInterval)
	}
	t.Fatalf("not within %v: %s", Patience, what)
}

// Listen opens a free port of 127.0.0.1 until the end of the test.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// CheckPackageComment requires that the package comment in file lists every other file of the
// package that is no test, one on each line: a tab, the name, the subject.
func CheckPackageComment(t testing.TB, file string) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage ")
	var listed []string
	for _, line := range listedFile.FindAllStringSubmatch(comment, -1) {
		listed = append(listed, line[1])
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	slices.Sort(listed)
	if !slices.Equal(listed, files) {
		t.Errorf("got %q in the comment, want %q", listed, files)
	}
}

var listedFile = regexp.MustCompile(`(?m)^//\t(\S+\.go) `)
