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
)

const (
	// earlierCommit is what users are taken to have before an upgrade: a release of ours of its own
	// program, units and install.sh. It moves on only to a commit that was released.
	earlierCommit = "b9bc337"
	earlierFolder = "/root/earlier"
)

// release is what an installation is made from, on this host.
type release struct {
	sources, program string
	what             string
}

// earlier is built from the repository's history. A shallow clone has none: then it is the present
// release in all but its version, which still shows that nothing is lost while one takes the other's place.
var earlier = sync.OnceValues(func() (release, error) {
	lookAtSources()
	dir := filepath.Join(scratch(), "earlier")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return release{}, err
	}
	r := release{sources: dir, program: filepath.Join(scratch(), "earlier-program"), what: "commit " + earlierCommit}
	archive, err := exec.Command("git", "-C", "..", "archive", earlierCommit).Output()
	if err != nil {
		r.sources, r.what = "..", "the present sources with another version, as there is no commit "+earlierCommit+" here (a shallow clone?)"
		return r, r.buildRenumbered()
	}
	untar := exec.Command("tar", "-x", "-C", dir)
	untar.Stdin = bytes.NewReader(archive)
	if err := explain(untar); err != nil {
		return release{}, err
	}
	return r, r.build()
})

func (r release) build(flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", r.program}, flags...), "./cmd/dataflux-func-sidecar")...)
	cmd.Dir = r.sources
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return explain(cmd)
}

// buildRenumbered changes the version by an overlay: the sources stay as they are.
func (r release) buildRenumbered() error {
	source, err := filepath.Abs("../cmd/dataflux-func-sidecar/main.go")
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
	instead, overlay := filepath.Join(scratch(), "main.go.renumbered"), filepath.Join(scratch(), "overlay.json")
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

// placeEarlier copies what `make build` left in a checkout of the earlier release.
func (m *machine) placeEarlier() {
	t := m.t
	t.Helper()
	r, err := earlier()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the earlier release is %s", r.what)
	m.place(r.program, earlierFolder+"/bin/dataflux-func-sidecar", 0o755)
	m.place(filepath.Join(r.sources, "install.sh"), earlierFolder+"/install.sh", 0o755)
	for _, folder := range []string{"units", "man"} { // as far as the release has them
		files, _ := filepath.Glob(filepath.Join(r.sources, folder, "dataflux-func-sidecar*"))
		for _, file := range files {
			m.place(file, earlierFolder+"/"+folder+"/"+filepath.Base(file), 0o644)
		}
	}
}

func TestTheEarlierReleaseOfAShallowCloneHasAnotherVersion(t *testing.T) {
	r := release{sources: "..", program: filepath.Join(scratch(), "renumbered-program")}
	if err := r.buildRenumbered(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(r.program, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "dataflux-func-sidecar 0.1.") {
		t.Errorf("%q, %v", out, err)
	}
}
