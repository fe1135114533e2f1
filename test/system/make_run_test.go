package system

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// `make run` ends as a whole when make is told to end, as by `kill`; Ctrl-C reaches all by itself.
func TestMakeRun_EndsWithMake(t *testing.T) {
	t.Parallel()
	testkit.NeedTools(t, "make")
	folder := t.TempDir()
	for _, name := range []string{"Makefile", "packaging/run-from-source.sh", "bin/" + programName} {
		source := filepath.Join(top, name)
		if filepath.Base(name) == programName {
			source = testkit.Program(t)
		}
		text, err := os.ReadFile(source)
		if err == nil {
			err = os.MkdirAll(filepath.Join(folder, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(folder, "socket")
	answers := func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	cmd := exec.Command("make", "-o", "build", "run", "BIND="+socket) // -o: it is built
	cmd.Dir = folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	testkit.Eventually(t, "the daemon serves", answers)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // make waits for its children
	if answers() {
		t.Error("the daemon serves on after the end of make")
	}
}
