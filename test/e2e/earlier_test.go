package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const (
	// earlierCommit is the release from which upgrades start, with its own program, units and
	// install.sh. It changes only to a commit that was released. Its install.sh closes the ports at
	// a downgrade if one byte of units/dataflux-func-sidecar.socket differs, comments included. So
	// the text of that unit stays until this commit changes.
	earlierCommit = "b9bc337"
	earlierFolder = "/root/earlier"

	// betweenCommit is the release after earlierCommit. As there is none yet, it is the last commit
	// that cannot reload. It has packages, and one user for all.
	betweenCommit = "c13f8eb"
	betweenFolder = "/root/between"
)

// release is the source of an installation, on this host.
type release struct {
	sources, program string
	what             string
	renumbered       bool // it is the present release with another version
}

var (
	earlier = sync.OnceValues(func() (release, error) { return fromHistory(earlierCommit) })
	between = sync.OnceValues(func() (release, error) { return fromHistory(betweenCommit) })
)

// fromHistory builds a release from the history of the repository. A shallow clone has none: then it
// is the present release with another version, which still shows that a replacement loses nothing.
func fromHistory(commit string) (release, error) {
	testkit.TrackFiles(".", ".go")
	dir := filepath.Join(testkit.Scratch(), commit)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return release{}, err
	}
	r := release{sources: dir, program: dir + "-program", what: "commit " + commit}
	archive, err := exec.Command("git", "-C", "../..", "archive", commit).Output()
	if err != nil {
		if shallow, _ := exec.Command("git", "-C", "../..", "rev-parse", "--is-shallow-repository").Output(); string(shallow) != "true\n" {
			return release{}, fmt.Errorf("the history of this clone has no commit %s", commit)
		}
		r.sources, r.renumbered = "../..", true
		r.what = "the present sources with another version, as there is no commit " + commit + " here (a shallow clone?)"
		return r, r.buildRenumbered()
	}
	untar := exec.Command("tar", "-x", "-C", dir)
	untar.Stdin = bytes.NewReader(archive)
	if err := testkit.Explain(untar); err != nil {
		return release{}, err
	}
	return r, r.build()
}

// reloads says whether the release can reload.
func (r release) reloads() bool {
	_, err := os.Stat(filepath.Join(r.sources, "cmd/dataflux-func-sidecar/reload.go"))
	return err == nil
}

func (r release) build(flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", r.program}, flags...), "./cmd/dataflux-func-sidecar")...)
	cmd.Dir = r.sources
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return testkit.Explain(cmd)
}

// buildRenumbered changes the version by an overlay: the sources stay as they are.
func (r release) buildRenumbered() error {
	source, err := filepath.Abs("../../cmd/dataflux-func-sidecar/main.go")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	renumbered := bytes.Replace(text, []byte(`= "1.`), []byte(`= "0.1.`), 1)
	if bytes.Equal(renumbered, text) {
		return fmt.Errorf("cannot find the version in %s", source)
	}
	instead, overlay := r.program+".main.go", r.program+".overlay.json"
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: instead}})
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{instead: renumbered, overlay: replace} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return r.build("-overlay", overlay)
}

// placeEarlier copies a built checkout of the earlier release.
func (m *machine) placeEarlier() release {
	m.t.Helper()
	return m.placeFromHistory(earlier, earlierFolder)
}

func (m *machine) placeFromHistory(build func() (release, error), folder string) release {
	t := m.t
	t.Helper()
	r, err := build()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is %s", folder, r.what)
	m.place(r.program, folder+"/bin/dataflux-func-sidecar", 0o755)
	m.place(filepath.Join(r.sources, "install.sh"), folder+"/install.sh", 0o755)
	for _, part := range []string{"units", "man", "packaging/man"} { // those that the release has
		files, _ := filepath.Glob(filepath.Join(r.sources, part, "dataflux-func-sidecar*"))
		for _, file := range files {
			m.place(file, folder+"/"+part+"/"+filepath.Base(file), 0o644)
		}
	}
	return r
}

func TestEarlierRelease_ShallowClone(t *testing.T) {
	r := release{sources: "../..", program: filepath.Join(testkit.Scratch(), "renumbered-program")}
	if err := r.buildRenumbered(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(r.program, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "dataflux-func-sidecar 0.1.") {
		t.Errorf("%q, %v", out, err)
	}
}
