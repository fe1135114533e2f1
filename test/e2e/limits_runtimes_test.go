//go:build matrix

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// TestLimits_NodeAndJava boots Debian with a kernel of its own, Node.js and Java, which reserve far
// more memory than they use. Both run under LIMIT_MEMORY, and are killed when they use more.
func TestLimits_NodeAndJava(t *testing.T) {
	needMachines(t)
	testkit.NeedTools(t, "mmdebstrap", "qemu-system-x86_64", "cpio")
	tree := filepath.Join(cacheFolder(), "runtimes-"+suite()+"-"+treeVersion)
	if err := runHere("sh", "tree.sh", tree, suite(), "nodejs,default-jre-headless"); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	archive := filepath.Join(root, "all.cpio")
	script := "limits_runtimes_inside.sh"
	if err := runHere("sh", "kernel.sh", "pack", tree, buildHost(t, root, "amd64"), archive, script); err != nil {
		t.Fatal(err)
	}
	wantResults(t, bootAMD64(t, fetchKernel(t), archive, ""), countResults(readScript(t, script)))
	_ = os.Remove(archive)
}
