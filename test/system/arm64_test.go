package system

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// The program for arm64 is executed under user-mode emulation, which has no seccomp. Therefore
// `serve` is not tried here.
func TestArm64_BuiltAndSignsTheSame(t *testing.T) {
	t.Parallel()
	const emulator = "qemu-aarch64-static"
	testkit.NeedTools(t, emulator, "curl")
	path := filepath.Join(t.TempDir(), "arm64")
	if err := testkit.Build(path, "GOARCH=arm64"); err != nil {
		t.Fatal(err)
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
