package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchies lists where machine.sh makes cgroups, on unified and on hybrid hosts.
var hierarchies = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// removeCgroups removes the cgroups of an ended machine. Its last processes end a moment later.
func removeCgroups(name string) {
	for range 40 {
		gone := true
		for _, hierarchy := range hierarchies {
			removeEmpty(filepath.Join(hierarchy, name))
			_, err := os.Stat(filepath.Join(hierarchy, name))
			gone = gone && os.IsNotExist(err)
		}
		if gone {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// removeEmpty removes a tree of cgroups from its leaves. The kernel refuses one that is in use.
func removeEmpty(root string) {
	var folders []string
	_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	for _, folder := range slices.Backward(folders) {
		_ = os.Remove(folder)
	}
}

// sweepCgroups removes the cgroups that killed test processes left.
func sweepCgroups() {
	for _, hierarchy := range hierarchies {
		found, _ := filepath.Glob(filepath.Join(hierarchy, "dffs-e2e-*"))
		for _, path := range found {
			owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "dffs-e2e-"), "-")
			if pid, err := strconv.Atoi(owner); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
				removeCgroups(filepath.Base(path))
			}
		}
	}
}
