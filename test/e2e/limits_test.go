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

// TestLimits_OwnKernel boots Debian with a kernel of its own under full emulation, as a container
// has no memory controller: limits of whole commands, of all commands together, and the controllers
// that they take, over reloads, restarts and kills. In the hybrid layout, limits are those of
// processes.
func TestLimits_OwnKernel(t *testing.T) {
	needMachines(t)
	testkit.NeedTools(t, "qemu-system-x86_64", "cpio")
	t.Parallel()
	kernel := filepath.Join(cacheFolder(), "kernel-amd64-"+suite())
	if err := runHere("sh", "kernel.sh", "fetch", kernel, suite()); err != nil {
		t.Fatal(err)
	}
	console := bootKernel(t, kernel, packLimits(t))
	t.Logf("the kernel is %s", regexp.MustCompile(`KERNEL (.*)`).FindString(console))
	results := regexp.MustCompile(`(?m)^RESULT (.*) (\d+) after (\d+) s\r?$`).FindAllStringSubmatch(console, -1)
	for _, result := range results {
		t.Logf("%s s: %s", result[3], result[1])
		if result[2] != "0" {
			t.Errorf("%s failed", result[1])
		}
	}
	for _, said := range regexp.MustCompile(`(the kernel has io\.weight|weights of 1 to 10): .*`).FindAllString(console, -1) {
		t.Log(strings.TrimSpace(said))
	}
	if want := limitResults(t); len(results) != want || t.Failed() {
		t.Errorf("got %d results, want %d; the console:\n%s", len(results), want, console)
	}
}

// limitResults is how many results limits_inside.sh has for the layout.
func limitResults(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("limits_inside.sh")
	if err != nil {
		t.Fatal(err)
	}
	hybrid, unified, _ := strings.Cut(string(text), "\texit\nfi\n")
	calls := regexp.MustCompile(`(?m)^\t?(check|result) ['a-z]`)
	if layout() == "hybrid" {
		return len(calls.FindAllString(hybrid, -1))
	}
	const install = 1
	return install + len(calls.FindAllString(unified, -1))
}

func packLimits(t *testing.T) (archive string) {
	t.Helper()
	root := t.TempDir()
	build := func(args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = testkit.Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if err := testkit.Explain(cmd); err != nil {
			t.Fatal(err)
		}
	}
	files := filepath.Join(root, "files")
	build("test", "-c", "-trimpath", "-tags", "controllers", "-o", filepath.Join(files, "selftest", "exec.test"), "./exec")
	build("build", "-trimpath", "-o", filepath.Join(files, "program"), "./cmd/dataflux-func-sidecar")
	archive = filepath.Join(root, "all.cpio")
	if err := runHere("sh", "kernel.sh", "pack", treePath(), files, archive, "limits_inside.sh"); err != nil {
		t.Fatal(err)
	}
	return archive
}

// bootKernel returns the console output until the machine powered itself off.
func bootKernel(t *testing.T, kernel, archive string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	parameters := "console=ttyS0 quiet loglevel=1 mitigations=off panic=-1 systemd.unit=multi-user.target systemd.show_status=false " +
		"systemd.mask=serial-getty@ttyS0.service systemd.mask=systemd-networkd-wait-online.service"
	if layout() == "hybrid" {
		parameters += " systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-cpu", "qemu64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "3072",
		"-nographic", "-no-reboot", "-net", "none", "-kernel", kernel, "-initrd", archive, "-append", parameters)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the machine ended with %v", err)
	}
	return string(out)
}
