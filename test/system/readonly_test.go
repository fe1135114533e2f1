package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// faultyDisk is an ext4 file system that can find an error. After that it is read-only, also for
// files that are open for writing.
type faultyDisk struct {
	t           *testing.T
	image, path string
}

func newFaultyDisk(t *testing.T, path string) faultyDisk {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "mkfs.ext4", "e2fsck", "mount", "findmnt")
	f := faultyDisk{t, filepath.Join(sharedDir(t), "image"), path}
	if err := os.WriteFile(f.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.image, 128<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	f.run("mkfs.ext4", "-q", "-F", f.image)
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
	f.mount()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f faultyDisk) run(command string, args ...string) string {
	f.t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f faultyDisk) mount() {
	f.t.Helper()
	out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", f.image, f.path).CombinedOutput()
	testkit.Need(f.t, err == nil, "cannot mount a file system: "+string(out))
}

func (f faultyDisk) fail() {
	f.t.Helper()
	device := filepath.Base(f.run("findmnt", "-no", "SOURCE", f.path))
	if err := os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("by a test"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// repair needs that no process uses the file system.
func (f faultyDisk) repair() {
	f.t.Helper()
	if err := syscall.Unmount(f.path, 0); err != nil {
		f.t.Fatal(err)
	}
	_ = exec.Command("e2fsck", "-fy", f.image).Run() // 1 after a repair
	f.run("e2fsck", "-fn", f.image)
	f.mount()
}

// Where the state directory has become read-only, a reload is refused and says what to do. Daemon
// and commands go on, and no request is accepted whose replay would not be recognized.
func TestReload_ReadOnlyState(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	disk := newFaultyDisk(t, d.stateDir())
	d.start()
	end := filepath.Join(sharedDir(t), "end")
	long := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + end + "; do sleep 0.01; done; echo went on"})).raw())
	d.awaitLog("Command started")
	d.wantReloaded()
	disk.fail()
	for _, when := range []string{"before a request", "after one"} {
		s := d.reload()
		if s.status != 1 || s.stdout != "" || !strings.HasPrefix(s.stderr, "error: cannot reload now: cannot write the mark of the nonce log: ") ||
			!strings.HasSuffix(s.stderr, ": read-only file system\n"+
				"hint: repair the file system of the state directory; to unmount it, stop the service first\n") {
			t.Errorf("reload %s: got %+v", when, s)
		}
		d.try200(fields{"command": "true"}).wantRefusal(t, 503, "the nonce cannot be recorded")
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if a := long.answer("POST"); a.Data == nil || a.Data.Stdout != "went on\n" {
		t.Errorf("the running command: got %d %s", a.status, a.body)
	}
	d.signal(d.pid, syscall.SIGTERM)
	d.awaitEnd()
	d.awaitLog("its state was not closed in order")
	disk.repair()
	d.start()
	if a := d.run("echo again"); a.Data.Stdout != "again\n" {
		t.Errorf("after the repair: got %s", a.body)
	}
}
