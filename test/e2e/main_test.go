package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

func TestMain(m *testing.M) {
	sweepCgroups()
	testkit.Main(m)
}

func needMachines(t *testing.T) {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "systemd-nspawn", "mmdebstrap", "unshare", "nsenter")
	testkit.Need(t, debianTree() == nil, fmt.Sprintf("cannot make the Debian tree: %v", debianTree()))
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

// layout is the cgroup layout of the machines; machine.sh lists them.
func layout() string {
	if name := os.Getenv("SIDECAR_E2E_CGROUP"); name != "" {
		return name
	}
	return "unified"
}

// treeVersion must rise when tree.sh installs other packages, so that no outdated tree of the cache
// is used.
const treeVersion = "3"

func treePath() string { return filepath.Join(cacheFolder(), "debian-"+suite()+"-"+treeVersion) }

var debianTree = sync.OnceValue(func() error {
	return runHere("sh", "tree.sh", treePath(), suite())
})

func runHere(name string, args ...string) error { return testkit.Explain(exec.Command(name, args...)) }
