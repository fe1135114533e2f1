package connector_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// python is one interpreter: of this host, or of a Debian tree that the end-to-end tests have made.
type python struct {
	version string
	command []string // FOLDER stands for the folder to run in
}

// pythons finds one interpreter of each version. At least one is required.
func pythons(t *testing.T) []python {
	t.Helper()
	var found []python
	known := map[string]bool{}
	for _, command := range candidates() {
		p, ok := ask(t, command)
		if ok && !known[p.version] {
			known[p.version] = true
			found = append(found, p)
			t.Logf("%s: %s", p.version, strings.Join(p.command, " "))
		}
	}
	if len(found) == 0 {
		skip(t, "there is no python3")
	}
	return found
}

// The tests of private keys ran, in one Python at least: only there is the package cryptography.
func TestPython_HasCryptography(t *testing.T) {
	for _, p := range pythons(t) {
		args := append(p.arguments(t.TempDir()), "-c", "import cryptography")
		if exec.Command(args[0], args[1:]...).Run() == nil {
			return
		}
	}
	skip(t, "no Python has the package cryptography")
}

func candidates() [][]string {
	all := [][]string{{"python3"}}
	for minor := 8; minor <= 14; minor++ {
		all = append(all, []string{fmt.Sprintf("python3.%d", minor)})
	}
	for _, path := range glob(pyenvFolder(), "versions", "3.*", "bin", "python3") {
		all = append(all, []string{path})
	}
	if os.Geteuid() != 0 {
		return all
	}
	script, _ := filepath.Abs("in_tree.sh") // fails where there is no working directory, and nothing works
	for _, path := range glob(cacheFolder(), "debian-*", "usr", "bin", "python3") {
		tree := strings.TrimSuffix(path, "/usr/bin/python3")
		all = append(all, []string{"unshare", "--mount", "sh", script, tree, "FOLDER", "python3"})
	}
	return all
}

func glob(elements ...string) []string {
	paths, _ := filepath.Glob(filepath.Join(elements...)) // a pattern that cannot be read finds nothing
	return paths
}

// pyenvFolder is the folder of pyenv.
func pyenvFolder() string {
	if dir := os.Getenv("PYENV_ROOT"); dir != "" {
		return dir
	}
	home, _ := os.UserHomeDir() // without one there is none of its folders
	return filepath.Join(home, ".pyenv")
}

// cacheFolder is where the end-to-end tests keep their Debian trees.
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

// ask returns the version of an interpreter. It skips versions before 3.8, and commands that do not exist.
func ask(t *testing.T, command []string) (python, bool) {
	t.Helper()
	p := python{command: command}
	if _, err := exec.LookPath(command[0]); err != nil {
		return p, false
	}
	const question = "import sys; print('%d.%d' % sys.version_info[:2] if sys.version_info >= (3, 8) else '')"
	args := append(p.arguments(t.TempDir()), "-c", question)
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil && command[0] == "unshare" {
		t.Errorf("%s does not start: %v", strings.Join(args, " "), err)
	}
	p.version = strings.TrimSpace(string(out))
	return p, p.version != ""
}

// arguments returns the command for a run in a folder.
func (p python) arguments(folder string) []string {
	var args []string
	for _, arg := range p.command {
		if arg == "FOLDER" {
			arg = folder
		}
		args = append(args, arg)
	}
	return args
}

// skip skips a test that lacks something here. In CI it fails instead.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal("must not be skipped here: " + reason)
	}
	t.Skip(reason)
}
