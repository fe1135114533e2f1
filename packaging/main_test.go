package packaging

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const name = testkit.Name

func TestMain(m *testing.M) {
	// Under nohup a child would ignore SIGHUP too, and a shell cannot trap a signal that it ignores
	// from its start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	testkit.Main(m)
}

// source returns a copy of the sources of a release, so that they do not change between two builds.
var source = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(testkit.Scratch(), "checkout")
	return dir, copySource("..", dir)
})

func copySource(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, _ := filepath.Rel(from, path)
		switch {
		case entry.IsDir() && strings.Contains(" .git bin dist run test ", " "+inside+" "):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, inside), 0o755)
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(target, filepath.Join(to, inside)))
		case !entry.Type().IsRegular():
			return nil
		}
		return copyFile(path, filepath.Join(to, inside))
	})
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode())
}

// dist returns one release folder for all tests, without packages, which have other tests.
var dist = sync.OnceValues(func() (string, error) {
	checkout, err := source()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(testkit.Scratch(), "dist")
	_, err = makeDist(checkout, dir)
	return dir, err
})

func makeDist(checkout, dir string, environment ...string) (said string, err error) {
	command := exec.Command(filepath.Join(checkout, "packaging/dist.sh"), "--no-packages", dir)
	command.Env = append(os.Environ(), environment...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// contents returns the files below a folder, each with its permissions before its bytes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		inside, _ := filepath.Rel(dir, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files[inside] = info.Mode().String()
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			files[inside] += " " + string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// writeProgram writes a file that is executed next. A child that another test forks meanwhile would
// inherit the descriptor until its execve, and a file that is open for writing cannot be executed.
func writeProgram(path string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, 0o755)
}
