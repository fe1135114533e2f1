package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// TestLimits_OwnKernel boots Debian with a kernel of its own under full emulation, as a container
// has no memory controller: limits of whole commands, of all commands together, and the controllers
// that they take, over reloads, restarts and kills. In the hybrid layout, limits are those of
// processes.
func TestLimits_OwnKernel(t *testing.T) {
	needMachines(t)
	testkit.NeedTools(t, "qemu-system-x86_64", "cpio")
	t.Parallel()
	kernel := fetchKernel(t)
	archive := packLimits(t)
	parameters := ""
	if layout() == "hybrid" {
		parameters = " systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
	}
	console := bootAMD64(t, kernel, archive, parameters,
		"-drive", "file="+emptyDisk(t)+",if=none,format=raw,id=disk", "-device", "nvme,serial=1,drive=disk")
	for _, said := range regexp.MustCompile(`(the kernel has io\.weight|weights of 1 to 10): .*`).FindAllString(console, -1) {
		t.Log(strings.TrimSpace(said))
	}
	wantResults(t, console, limitResults(t))
}

// emptyDisk makes a disk of 64 MiB, which a test of exec reads: the machine's own files are all in
// memory, where the kernel can free none.
func emptyDisk(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

// fetchKernel returns the path of the suite's kernel.
func fetchKernel(t *testing.T) string {
	t.Helper()
	kernel := filepath.Join(cacheFolder(), "kernel-amd64-"+suite())
	if err := runHere("sh", "kernel.sh", "fetch", kernel, suite()); err != nil {
		t.Fatal(err)
	}
	return kernel
}

// limitResults is how many results limits_inside.sh has for the layout.
func limitResults(t *testing.T) int {
	t.Helper()
	hybrid, unified, _ := strings.Cut(readScript(t, "limits_inside.sh"), "\texit\nfi\n")
	if layout() == "hybrid" {
		return countResults(hybrid)
	}
	const install = 1
	return install + countResults(unified)
}

func packLimits(t *testing.T) (archive string) {
	t.Helper()
	root := t.TempDir()
	files := filepath.Join(root, "files")
	goBuild(t, "amd64", "test", "-c", "-trimpath", "-tags", "controllers", "-o", filepath.Join(files, "selftest", "exec.test"), "./exec")
	goBuild(t, "amd64", "build", "-trimpath", "-o", filepath.Join(files, "program"), "./cmd/dataflux-func-sidecar")
	archive = filepath.Join(root, "all.cpio")
	if err := runHere("sh", "kernel.sh", "pack", treePath(), files, archive, "limits_inside.sh"); err != nil {
		t.Fatal(err)
	}
	return archive
}
