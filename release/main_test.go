package release

import (
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const name = "dataflux-func-sidecar"

func TestMain(m *testing.M) {
	// Under nohup a child would ignore it as well, and no shell catches what it was born ignoring.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	status := m.Run()
	_ = os.RemoveAll(scratch())
	os.Exit(status)
}

// scratch lasts as long as this process.
var scratch = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "sidecar-release-")
	if err != nil {
		panic(err)
	}
	return dir
})

// need skips a test that this host cannot run, and fails it where nothing may be skipped.
func need(t *testing.T, met bool, why string) {
	t.Helper()
	if met {
		return
	}
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// source is a copy of what a release is made of, so that nothing changes between two builds of it.
var source = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch(), "checkout")
	return dir, copySource("..", dir)
})

func copySource(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, _ := filepath.Rel(from, path)
		switch {
		case entry.IsDir() && strings.Contains(" .git bin dist run e2e bench ", " "+inside+" "):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, inside), 0o755)
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

// dist is one release folder for all tests, without packages, which have tests of their own.
var dist = sync.OnceValues(func() (string, error) {
	checkout, err := source()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(scratch(), "dist")
	_, err = makeDist(checkout, dir)
	return dir, err
})

func makeDist(checkout, dir string, environment ...string) (said string, err error) {
	command := exec.Command(filepath.Join(checkout, "release/dist.sh"), "--no-packages", dir)
	command.Env = append(os.Environ(), environment...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// contents are the files below a folder, with their permissions in front of their bytes.
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

// writeProgram writes a file that is executed next. A child that another test forks meanwhile would hold it
// open for writing until it executes something itself, and what is open for writing cannot be executed.
func writeProgram(path string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, 0o755)
}
