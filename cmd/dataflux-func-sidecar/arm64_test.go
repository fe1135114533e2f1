package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program for arm64 is built and executed under user-mode emulation, which has no seccomp: `serve`
// is tried on real machines only.
func TestTheArm64ProgramIsBuiltAndSignsTheSame(t *testing.T) {
	t.Parallel()
	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		skip(t, "qemu-user-static is missing, to execute a program for arm64")
	}
	path := filepath.Join(t.TempDir(), "arm64")
	build := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	out, err := exec.Command(emulator, path, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "dataflux-func-sidecar 1.") {
		t.Fatalf("version: %v %s", err, out)
	}
	d := startDaemon(t)
	signed, err := exec.Command(emulator, path, "sign", "--config", d.config, "http://"+d.address+"/shell", `{"command":"echo signed on arm64"}`).Output()
	if err != nil {
		t.Fatal(err)
	}
	curl := exec.Command("curl", "--config", "-")
	curl.Stdin = strings.NewReader(string(signed))
	if out, err := curl.CombinedOutput(); err != nil || !strings.Contains(string(out), `signed on arm64\n`) {
		t.Errorf("%v %s", err, out)
	}
}
