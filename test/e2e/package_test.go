package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// The version of the program, and the next one, which has no other difference.
const (
	thisVersion = "1.0.0"
	nextVersion = "1.0.1"
)

// releaseTime is the time in the packages of these tests: 2026-11-23.
const releaseTime = "1795392000"

const packageName = "dataflux-func-sidecar"

func debName(version, arch string) string {
	return packageName + "_" + version + "-1_" + arch + ".deb"
}

func rpmName(version, arch string) string {
	return packageName + "-" + version + "-1." + arch + ".rpm"
}

// thesePackages and nextPackages return folders with the output of packaging/packages/build.sh.
var (
	thesePackages = sync.OnceValues(func() (string, error) { return buildPackages("packages", thisVersion, "umask 022") })
	nextPackages  = sync.OnceValues(func() (string, error) { return buildPackages("next-packages", nextVersion, "umask 022") })
)

// packagePath returns the path of a package on this host.
func packagePath(t *testing.T, folder func() (string, error), name string) string {
	t.Helper()
	built, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(built, name)
}

// buildPackages makes a folder below scratch with programs and packages of the version.
func buildPackages(folder, version, umask string, environment ...string) (string, error) {
	trackPackaging()
	work, dist := filepath.Join(testkit.Scratch(), folder, "work"), filepath.Join(testkit.Scratch(), folder, "dist")
	for _, arch := range []string{"amd64", "arm64"} {
		if err := buildFor(arch, version, filepath.Join(work, arch)); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("sh", "-c", umask+`; exec ../../packaging/packages/build.sh "$@"`, "sh", dist, work, version)
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH="+releaseTime), environment...)
	return filepath.Join(dist, "packages"), testkit.Explain(cmd)
}

// trackPackaging makes the cache of go test depend on the sources of packages.
func trackPackaging() {
	testkit.TrackFiles(".", ".go")
	for _, folder := range []string{"packaging", "units"} {
		testkit.TrackFiles(folder, "")
	}
}

// buildFor builds the program as for a release, with another version if wanted.
func buildFor(arch, version, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	overlay, err := versionOverlay(folder, version)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-overlay", overlay,
		"-o", filepath.Join(folder, packageName), "../../cmd/"+packageName)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	return testkit.Explain(cmd)
}

// versionOverlay makes the compiler read another main.go, which has another version.
func versionOverlay(folder, version string) (string, error) {
	source, err := filepath.Abs("../../cmd/" + packageName + "/main.go")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	ours, other := []byte(`= "`+thisVersion+`"`), []byte(`= "`+version+`"`)
	if bytes.Count(text, ours) != 1 {
		return "", fmt.Errorf("main.go does not say %s once: these tests must know the version", ours)
	}
	changed, overlay := filepath.Join(folder, "main.go"), filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(changed, bytes.Replace(text, ours, other, 1), 0o600); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, data, 0o600)
}

func TestPackages_Reproducible(t *testing.T) {
	first, err := thesePackages()
	if err != nil {
		t.Fatal(err)
	}
	second, err := buildPackages("a second time, elsewhere", thisVersion, "umask 077", "TZ=Asia/Shanghai", "LC_ALL=C.UTF-8", "HOSTNAME=other")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(first)
	if err != nil || len(entries) != 4 {
		t.Fatalf("%d packages: %v", len(entries), err)
	}
	for _, entry := range entries {
		one, _ := os.ReadFile(filepath.Join(first, entry.Name()))
		other, err := os.ReadFile(filepath.Join(second, entry.Name()))
		if err != nil || !bytes.Equal(one, other) {
			t.Errorf("%s differs when it is built again: %v", entry.Name(), err)
		}
	}
}
