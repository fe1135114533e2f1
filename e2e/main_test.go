package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	sweepCgroups()
	status := m.Run()
	_ = os.RemoveAll(scratch())
	os.Exit(status)
}

// scratch lasts as long as this process.
var scratch = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "dffs-e2e-")
	if err != nil {
		panic(err)
	}
	return dir
})

// need skips a test that this host cannot run, and fails it where nothing may be skipped.
func need(t *testing.T, met bool, why string) {
	t.Helper()
	if met {
		return
	}
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needMachines(t *testing.T) {
	t.Helper()
	need(t, os.Geteuid() == 0, "booting a machine needs root")
	for _, tool := range []string{"systemd-nspawn", "mmdebstrap", "unshare", "nsenter"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, "booting a machine needs "+tool)
	}
	need(t, debianTree() == nil, fmt.Sprintf("cannot make the Debian tree: %v", debianTree()))
}

func cacheFolder() string {
	if dir := os.Getenv("SIDECAR_E2E_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "dataflux-func-sidecar")
}

// suite is the Debian release that the machines run.
func suite() string {
	if name := os.Getenv("SIDECAR_E2E_SUITE"); name != "" {
		return name
	}
	return "bookworm"
}

// layout is how the machines see cgroups, as machine.sh says.
func layout() string {
	if name := os.Getenv("SIDECAR_E2E_CGROUP"); name != "" {
		return name
	}
	return "unified"
}

func treePath() string { return filepath.Join(cacheFolder(), "debian-"+suite()) }

var debianTree = sync.OnceValue(func() error {
	return runHere("sh", "tree.sh", treePath(), suite())
})

// program is built as `make build` does, so that what runs in the machines is what users get.
var program = sync.OnceValues(func() (path string, err error) {
	lookAtSources()
	path = filepath.Join(scratch(), "dataflux-func-sidecar")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "../cmd/dataflux-func-sidecar")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return path, explain(cmd)
})

// lookAtSources lets `go test` know what these tests depend on besides their package: it remembers a
// result for as long as the files that the test looked at are the same.
func lookAtSources() {
	_ = filepath.WalkDir("..", func(path string, _ os.DirEntry, _ error) error {
		if filepath.Ext(path) == ".go" {
			_, _ = os.Stat(path)
		}
		return nil
	})
}

func runHere(name string, args ...string) error { return explain(exec.Command(name, args...)) }

func explain(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w\n%s", cmd, err, out)
	}
	return nil
}
