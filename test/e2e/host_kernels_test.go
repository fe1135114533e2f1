//go:build matrix

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// TestHost_OwnKernel boots the suite with its own kernel and systemd under full emulation: the
// tests of the sandbox, and installation, calls, limits, a reload under a running job, kills of both
// roles, stop, and removal.
func TestHost_OwnKernel(t *testing.T) {
	needMachines(t)
	testkit.NeedTools(t, "qemu-system-x86_64", "cpio")
	root := t.TempDir()
	packages := []string{"privsep"}
	files := buildHost(t, root, "amd64", packages...)
	archive := filepath.Join(root, "all.cpio")
	if err := runHere("sh", "kernel.sh", "pack", treePath(), files, archive, "host_inside.sh"); err != nil {
		t.Fatal(err)
	}
	wantHost(t, suite(), bootAMD64(t, fetchKernel(t), archive, ""), packages)
}

// TestHost_SELinux boots a Debian with its own kernel whose SELinux enforces Debian's policy. An
// unconfined administrator installs and calls.
func TestHost_SELinux(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "mmdebstrap", "qemu-system-x86_64", "mke2fs")
	base := filepath.Join(cacheFolder(), "selinux-"+suite())
	if err := runHere("sh", "kernel.sh", "selinux", base, suite()); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	files, disk := buildHost(t, root, "amd64"), filepath.Join(root, "disk")
	if err := runHere("sh", "kernel.sh", "image", filepath.Join(base, "tree"), files, disk, "host_inside.sh"); err != nil {
		t.Fatal(err)
	}
	console := bootAMD64(t, filepath.Join(base, "kernel"), filepath.Join(base, "initrd"),
		" root=/dev/vda rw security=selinux enforcing=1 audit=1", "-drive", "format=raw,if=virtio,file="+disk)
	if !strings.Contains(console, "SELINUX Enforcing") {
		t.Error("SELinux does not enforce")
	}
	for _, denial := range regexp.MustCompile(`(?m)^ *\d+ DENIED .*`).FindAllString(console, -1) {
		t.Log(denial)
	}
	wantHost(t, suite()+", SELinux", console, nil)
}

// buildHost builds the program, and the tests of the packages, for a machine of the architecture.
func buildHost(t *testing.T, root, architecture string, packages ...string) (files string) {
	t.Helper()
	files = filepath.Join(root, "files")
	built := filepath.Join(files, "selftest", "built")
	for _, name := range packages {
		goBuild(t, architecture, "test", "-c", "-trimpath", "-o", filepath.Join(built, strings.ReplaceAll(name, "/", "_")+".test"), "./"+name)
	}
	if len(packages) > 0 {
		goBuild(t, architecture, "build", "-trimpath", "-o", filepath.Join(built, "attack"), "./privsep/testdata/attack")
	}
	goBuild(t, architecture, "build", "-trimpath", "-o", filepath.Join(files, "program"), "./cmd/dataflux-func-sidecar")
	if testing.Short() {
		if err := os.WriteFile(filepath.Join(files, "selftest", "short"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// wantHost checks the outcomes of host_inside.sh, and logs the machine as a row of
// docs/compatibility.md.
func wantHost(t *testing.T, name, console string, packages []string) {
	t.Helper()
	script := readScript(t, "host_inside.sh")
	if testing.Short() {
		script, _, _ = strings.Cut(script, "\n[ ! -e /selftest/short ]")
	}
	wantResults(t, console, len(packages)+countResults(script))
	if testing.Short() {
		return
	}
	landlock := "none"
	if found := regexp.MustCompile(`LANDLOCK (\d+)`).FindStringSubmatch(console); found != nil {
		landlock = found[1]
	}
	count := func(pattern string) int { return len(regexp.MustCompile("(?m)^"+pattern).FindAllString(console, -1)) }
	machine := machineOn(console)
	t.Logf("row: | %s | %s | %s | %s | %d of %d | %d passed, %d skipped |", name, machine[1], machine[2], landlock,
		count("RESULT .* 0 after "), count("RESULT "), count("--- PASS: "), count("--- SKIP: "))
}
