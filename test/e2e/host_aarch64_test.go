//go:build matrix

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

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
	root := t.TempDir()
	files, archive := buildHost(t, root, "arm64", arm64Packages...), filepath.Join(root, "all.cpio")
	if err := runHere("sh", "kernel.sh", "pack", filepath.Join(base, "tree.cpio"), files, archive, "host_inside.sh"); err != nil {
		t.Fatal(err)
	}
	console := bootEmulated(t, "qemu-system-aarch64", "-M", "virt", "-cpu", "max", "-kernel", filepath.Join(base, "kernel"), "-initrd", archive,
		"-append", "console=ttyAMA0 systemd.mask=serial-getty@ttyAMA0.service"+kernelParameters)
	for _, name := range []string{"TestSandbox_Refuses", "TestSpawn_EachKernel", "TestStart_FailureLeavesNothing"} {
		if !strings.Contains(console, "--- PASS: "+name+" ") {
			t.Errorf("%s was not tried, or failed", name)
		}
	}
	wantHost(t, release+", arm64", console, arm64Packages)
}
