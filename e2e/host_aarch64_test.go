//go:build matrix

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// arm64Packages are those whose tests run on the arm64 machine: first of all that of the sandbox, and of exec
// those of its assembly. The others of exec, and those of executor, state and cmd, measure time, or run thousands
// of commands, and emulation is 10 to 30 times too slow for that; the installed program is called instead.
var arm64Packages = []string{"exec", "privsep", "privsep/message", "sign", "journal", "listener"}

// TestOnAnArm64Kernel boots Debian's arm64 kernel with systemd under full emulation, runs the packages'
// tests on it, those of the sandbox among them, and installs and calls the program.
func TestOnAnArm64Kernel(t *testing.T) {
	for _, tool := range []string{"qemu-system-aarch64", "mmdebstrap", "cpio"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, "booting an arm64 machine needs "+tool)
	}
	need(t, os.Geteuid() == 0, "making an arm64 machine needs root")
	// Linux 6.12 has the Landlock version that the attacks on the sandbox need; 6.1 of bookworm has not.
	const release = "trixie"
	base := filepath.Join(cacheFolder(), "arm64-"+release)
	if err := runHere("sh", "arm64.sh", "tree", base, release); err != nil {
		t.Fatal(err)
	}
	console := bootArm64(t, base, packSelftest(t, base))
	t.Logf("the kernel is %s", regexp.MustCompile(`KERNEL (\S+ \S+)`).FindString(console))
	results := regexp.MustCompile(`(?m)^RESULT (.*) (\d+) (after \d+ s)\r?$`).FindAllStringSubmatch(console, -1)
	for _, result := range results {
		t.Logf("%s: status %s %s", result[1], result[2], result[3])
		if result[2] != "0" {
			t.Errorf("%s failed", result[1])
		}
	}
	for _, name := range []string{"TestSandboxRefuses", "TestACommandIsTheSameOnEachKernel", "TestAFailedStartLeavesNothing"} {
		if !strings.Contains(console, "--- PASS: "+name+" ") {
			t.Errorf("%s was not tried, or failed", name)
		}
	}
	if want := len(arm64Packages) + 3; len(results) != want || t.Failed() {
		t.Errorf("%d results, want %d; the console:\n%s", len(results), want, console)
	}
}

// packSelftest returns an archive that the kernel unpacks over the tree.
func packSelftest(t *testing.T, base string) string {
	t.Helper()
	root := t.TempDir()
	built := filepath.Join(root, "selftest", "built")
	build := func(args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOFLAGS=")
		if err := explain(cmd); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range arm64Packages {
		build("test", "-c", "-trimpath", "-o", filepath.Join(built, strings.ReplaceAll(name, "/", "_")+".test"), "./"+name)
	}
	build("build", "-trimpath", "-o", filepath.Join(built, "attack"), "./privsep/testdata/attack")
	build("build", "-trimpath", "-o", filepath.Join(built, "program"), "./cmd/dataflux-func-sidecar")
	if err := runHere("sh", "arm64.sh", "pack", root, base, filepath.Join(root, "all.cpio")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "all.cpio")
}

// bootArm64 returns what the machine said until it powered itself off.
func bootArm64(t *testing.T, base, archive string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-aarch64", "-M", "virt", "-cpu", "max", "-accel", "tcg,thread=multi",
		"-smp", "2", "-m", "3072", "-nographic", "-no-reboot", "-net", "none",
		"-kernel", filepath.Join(base, "kernel"), "-initrd", archive,
		"-append", "console=ttyAMA0 quiet panic=-1 systemd.unit=multi-user.target systemd.mask=serial-getty@ttyAMA0.service systemd.show_status=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the machine ended with %v", err)
	}
	return string(out)
}
