package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// What it writes is installed from in test/e2e (TestRepository_Apt, TestRepository_Dnf).
func TestRepo_Refuses(t *testing.T) {
	t.Parallel()
	testkit.NeedTools(t, "gpg", "apt-ftparchive", "createrepo_c")
	dist := t.TempDir()
	overwrite(t, filepath.Join(dist, "packages/x.deb"), "x")
	overwrite(t, filepath.Join(dist, "sha256sums"), strings.Repeat("0", 64)+"  packages/x.deb\n")
	foreign, mixed := t.TempDir(), t.TempDir()
	overwrite(t, filepath.Join(foreign, "thesis.tex"), "")
	overwrite(t, filepath.Join(mixed, name+".asc"), "")
	overwrite(t, filepath.Join(mixed, "apt/pool/thesis.deb"), "")
	parent := t.TempDir()
	overwrite(t, filepath.Join(parent, "new.new/thesis.tex"), "") // has nothing to do with it
	const key, url = "REPO_SIGNING_KEY=nobody@localhost", "REPO_URL=https://x/repo"
	for _, row := range []struct {
		dist, target string
		environment  []string
		want         string
	}{
		{dist, "new", []string{url}, "REPO_SIGNING_KEY must be the fingerprint of a key"},
		{dist, "new", []string{key}, "REPO_URL must be the https:// URL"},
		{dist, "new", []string{key, "REPO_URL=http://x"}, "REPO_URL must be the https:// URL"},
		{releaseFolder(t), "new", []string{key, url}, "has no packages"},
		{dist, "new", []string{key, url}, "is damaged"},
	} {
		work := t.TempDir()
		cmd := exec.Command("./repo.sh", row.dist, filepath.Join(work, row.target))
		cmd.Env = append(append(os.Environ(), "GNUPGHOME="+t.TempDir(), "REPO_SIGNING_KEY=", "REPO_URL="), row.environment...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "repo.sh: ") || !strings.Contains(string(out), row.want) {
			t.Errorf("%q: %v, %s, want %q", row.environment, err, out, row.want)
		}
		if left := contents(t, work); len(left) != 0 {
			t.Errorf("it left %v", left)
		}
	}
	sum, err := exec.Command("sh", "-c", `cd "$0" && sha256sum packages/x.deb >sha256sums`, dist).CombinedOutput()
	if err != nil {
		t.Fatalf("%s", sum)
	}
	for target, want := range map[string]string{
		foreign: "is no repository", mixed: "has a file that is not part of a repository, apt/pool/thesis.deb",
		filepath.Join(parent, "new"): "gpg has no key", "..": "is no folder of its own",
	} {
		cmd := exec.Command("./repo.sh", dist, target)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+t.TempDir(), key, url)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s, want %q", target, err, out, want)
		}
	}
	for folder, want := range map[string]int{foreign: 1, mixed: 4, parent: 2} {
		if left := contents(t, folder); len(left) != want {
			t.Errorf("%s has %v", folder, left)
		}
	}
}
