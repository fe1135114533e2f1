package state

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// memoryDir is a directory in memory where there is such a file system. Only a test that uses the
// real medium needs t.TempDir.
func memoryDir(t testing.TB) string {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "state-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	return path
}

// rounds returns few, or with SIDECAR_FAULT_ROUNDS set (make faults) all.
func rounds(few, all int) int {
	if os.Getenv("SIDECAR_FAULT_ROUNDS") != "" {
		return all
	}
	return few
}

// fault makes files fail on demand. Its zero value lets everything pass.
type fault struct {
	mu       sync.Mutex
	write    error // after half of the bytes were written
	truncate error
	sync     error
	syncs    int
	delay    time.Duration // of each sync
}

func (f *fault) set(write, truncate, sync error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write, f.truncate, f.sync = write, truncate, sync
}

func (f *fault) open(file *os.File) file { return faultyFile{diskFile{file}, f} }

type faultyFile struct {
	diskFile
	fault *fault
}

func (f faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	f.fault.mu.Lock()
	failure := f.fault.write
	f.fault.mu.Unlock()
	if failure == nil {
		return f.diskFile.WriteAt(p, offset)
	}
	n, _ := f.diskFile.WriteAt(p[:len(p)/2], offset)
	return n, failure
}

func (f faultyFile) Truncate(size int64) error {
	f.fault.mu.Lock()
	failure := f.fault.truncate
	f.fault.mu.Unlock()
	if failure != nil {
		return failure
	}
	return f.diskFile.Truncate(size)
}

func (f faultyFile) Sync() error {
	f.fault.mu.Lock()
	failure, delay := f.fault.sync, f.fault.delay
	f.fault.syncs++
	f.fault.mu.Unlock()
	time.Sleep(delay)
	if failure != nil {
		return failure
	}
	return f.diskFile.Sync()
}

// files are the contents of a state directory, for damaging them.
func files(t *testing.T, path string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		contents[filepath.Base(name)] = data
	}
	return contents
}

// lay writes contents into an emptied directory.
func lay(t *testing.T, path string, contents map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range contents {
		if len(data) == 0 {
			continue // it is created when it is missing
		}
		if err := os.WriteFile(filepath.Join(path, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// diskUse is the sum of the sizes of all files.
func diskUse(t *testing.T, path string) (total int64) {
	t.Helper()
	for _, data := range files(t, path) {
		total += int64(len(data))
	}
	return total
}

// smallDisk mounts a tmpfs of size bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	testkit.NeedRoot(t) // to mount a file system
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		testkit.Need(t, false, "needs the right to mount a file system: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// fillDisk takes all space that is left, and returns what gives it back.
func fillDisk(t *testing.T, path string) (giveBack func()) {
	t.Helper()
	name := filepath.Join(path, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := bytes.Repeat([]byte{1}, 4096)
	for range 1 << 16 {
		if _, err := f.Write(block); err != nil {
			return func() { _ = os.Remove(name) }
		}
	}
	t.Fatal("the disk did not fill up")
	return nil
}

func text(s string) Output { return Output{int64(len(s)), strings.NewReader(s)} }

// repeated is n bytes that differ from place to place.
func repeated(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(time.Duration(i).String())
	}
	return b.String()[:n]
}

// unsynced is for tests of much work, in which no power cut is played.
func unsynced(f *os.File) file { return noSync{diskFile{f}} }

type noSync struct{ diskFile }

func (noSync) Sync() error { return nil }
