package packaging

import (
	"debug/buildinfo"
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

type statement struct {
	Type          string `json:"_type"`
	PredicateType string
	Subject       []struct {
		Name   string
		Digest map[string]string
	}
	Predicate struct {
		BuildDefinition struct {
			BuildType            string
			ExternalParameters   map[string]any
			InternalParameters   map[string]any
			ResolvedDependencies []struct {
				Name, URI   string
				Digest      map[string]string
				Annotations map[string]any
			}
		}
		RunDetails struct{ Builder map[string]string }
	}
}

func provenanceOf(t *testing.T, dir string) (s statement) {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(read(t, filepath.Join(dir, "provenance.json"))))
	in.DisallowUnknownFields()
	if err := in.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Its subjects are the files of the release with their checksums, and its modules those of the
// program. It says that the build was not isolated.
func TestProvenance_Facts(t *testing.T) {
	t.Parallel()
	dir := releaseFolder(t)
	s := provenanceOf(t, dir)
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" {
		t.Errorf("got a statement of type %s about %s", s.Type, s.PredicateType)
	}
	got, want := map[string]string{}, map[string]string{}
	for _, subject := range s.Subject {
		got[subject.Name] = subject.Digest["sha256"]
	}
	for line := range strings.Lines(read(t, filepath.Join(dir, "sha256sums"))) {
		want[strings.TrimSuffix(line[66:], "\n")] = line[:64]
	}
	delete(want, "provenance.json")
	if !maps.Equal(got, want) {
		t.Errorf("got the subjects %v, want %v", got, want)
	}
	info, err := buildinfo.ReadFile(programOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Predicate.BuildDefinition
	if len(d.ResolvedDependencies) != len(info.Deps)+1 {
		t.Errorf("got %d dependencies, want the source and %d modules", len(d.ResolvedDependencies), len(info.Deps))
	}
	for i, module := range info.Deps {
		dependency := d.ResolvedDependencies[i+1]
		if dependency.URI != "pkg:golang/"+module.Path+"@"+module.Version || len(dependency.Digest["dirHash1"]) != 64 {
			t.Errorf("got %+v, want the module %s %s", dependency, module.Path, module.Version)
		}
	}
	tools, _ := d.InternalParameters["tools"].(map[string]any)
	if tools["go"] != info.GoVersion || d.InternalParameters["isolated"] != false || !strings.HasSuffix(s.Predicate.RunDetails.Builder["id"], ":not-isolated") {
		t.Errorf("got %v by %v, want %s, not isolated", d.InternalParameters, s.Predicate.RunDetails.Builder, info.GoVersion)
	}
	if source := d.ResolvedDependencies[0]; source.Annotations["known"] != false || source.Digest != nil {
		t.Errorf("got the source %+v, want none, as the copy of the test is no checkout", source)
	}
	if version := strings.TrimSpace(read(t, filepath.Join(dir, "version"))); d.ExternalParameters["version"] != version || d.ExternalParameters["packages"] != false {
		t.Errorf("got %v, want version %s without packages", d.ExternalParameters, version)
	}
}

// Of a checkout it has the commit, and whether the source differs from it.
func TestProvenance_Commit(t *testing.T) {
	t.Parallel()
	testkit.NeedTools(t, "git")
	checkout := ownSource(t)
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", checkout, "-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet")
	git("add", "--all")
	git("commit", "--quiet", "--message", "x")
	for _, modified := range []bool{false, true} {
		if modified {
			overwrite(t, filepath.Join(checkout, "README.md"), "changed\n")
		}
		dir := filepath.Join(checkout, "dist") // as make dist does
		if said, err := makeDist(checkout, dir); err != nil {
			t.Fatal(said)
		}
		source := provenanceOf(t, dir).Predicate.BuildDefinition.ResolvedDependencies[0]
		if source.Digest["gitCommit"] != git("rev-parse", "HEAD") || source.Annotations["modified"] != modified {
			t.Errorf("got %+v, want the commit, modified: %t", source, modified)
		}
	}
}

// The SBOM has the modules that are in the program, and Go's standard library. A second one has the
// same bytes.
func TestSBOM_ModulesOfTheProgram(t *testing.T) {
	t.Parallel()
	program, work := testkit.Program(t), t.TempDir()
	write := func(name string) string {
		t.Helper()
		target := filepath.Join(t.TempDir(), name)
		if err := testkit.Explain(exec.Command("./sbom.sh", program, "1.2.3", target, work)); err != nil {
			t.Fatal(err)
		}
		return read(t, target)
	}
	text := write("one.json")
	if again := write("two.json"); again != text {
		t.Errorf("got\n%s\nand then\n%s", text, again)
	}
	var sbom struct {
		BOMFormat, SpecVersion string
		Metadata               struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(text), &sbom); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + info.GoVersion}
	for _, module := range info.Deps {
		want = append(want, module.Path+" "+module.Version)
	}
	var got []string
	for _, c := range sbom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	slices.Sort(got)
	slices.Sort(want)
	if sbom.BOMFormat != "CycloneDX" || sbom.Metadata.Component.Name != name || sbom.Metadata.Component.Version != "v1.2.3" || !slices.Equal(got, want) {
		t.Errorf("got %s of %+v with %q, want CycloneDX with %q", sbom.BOMFormat, sbom.Metadata.Component, got, want)
	}
}
