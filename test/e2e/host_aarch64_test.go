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

	"dataflux-func-sidecar/test/testkit"
)

// arm64Packages lists the packages whose tests run on the arm64 machine: mainly the sandbox, and of
// exec the tests of its assembly. The other tests of exec, and those of executor, state and cmd,
// measure time or run thousands of commands, for which emulation is 10 to 30 times too slow. The
// installed program is called instead.
var arm64Packages = []string{"exec", "privsep", "privsep/message", "sign", "internal/handover", "internal/journal", "internal/supervisor", "listener"}

// TestArm64_Kernel boots Debian's arm64 kernel with systemd under full emulation, runs the packages'
// tests on it, those of the sandbox among them, and installs and calls the program.
func TestArm64_Kernel(t *testing.T) {
	testkit.NeedTools(t, "qemu-system-aarch64", "mmdebstrap", "cpio")
	testkit.NeedRoot(t)
	// Linux 6.12 has the Landlock version that the attacks on the sandbox need; 6.1 of bookworm
	// lacks it.
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
	for _, name := range []string{"TestSandbox_Refuses", "TestSpawn_EachKernel", "TestStart_FailureLeavesNothing"} {
		if !strings.Contains(console, "--- PASS: "+name+" ") {
			t.Errorf("%s was not tried, or failed", name)
		}
	}
	if want := len(arm64Packages) + 6; len(results) != want || t.Failed() {
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
		cmd.Dir = testkit.Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOFLAGS=")
		if err := testkit.Explain(cmd); err != nil {
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

// bootArm64 returns the console output until the machine powered itself off.
func bootArm64(t *testing.T, base, archive string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
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
