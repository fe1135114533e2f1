package packaging

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestDist_FilesThatInstallersLookFor(t *testing.T) {
	t.Parallel()
	modes := map[string]string{
		"linux-amd64": "drwxr-xr-x", "linux-amd64/" + name + ".tar.gz": "-rw-r--r--",
		"linux-arm": "drwxr-xr-x", "linux-arm/" + name + ".tar.gz": "-rw-r--r--",
		"install.sh": "-rwxr-xr-x", "run-sidecar.sh": "-rwxr-xr-x", "download.sh": "-rwxr-xr-x",
		name + ".service": "-rw-r--r--", name + ".socket": "-rw-r--r--", name + "-ports.service": "-rw-r--r--", name + "-metrics.socket": "-rw-r--r--",
		name + "-reload.path": "-rw-r--r--", name + "-reload.service": "-rw-r--r--",
		name + ".catalog": "-rw-r--r--", name + ".8": "-rw-r--r--", name + ".5": "-rw-r--r--",
		"version": "-rw-r--r--", "unsigned.txt": "-rw-r--r--", "provenance.json": "-rw-r--r--", "sha256sums": "-rw-r--r--", "documents.sha256sums": "-rw-r--r--",
		"license.txt": "-rw-r--r--", "third-party-licences.txt": "-rw-r--r--",
		name + "-scripts.zip": "-rw-r--r--",
		"func":                "drwxr-xr-x", "func/script-sets": "drwxr-xr-x", "func/script-sets/sidecar": "drwxr-xr-x",
		"func/META.yaml": "-rw-r--r--", "func/NOTE.txt": "-rw-r--r--", "func/sha256sums": "-rw-r--r--",
	}
	for _, folder := range []string{"docs", "docs/zh-CN", "connector", "completions", "monitoring"} {
		modes[folder] = "drwxr-xr-x"
	}
	// Links are files in a release.
	err := filepath.WalkDir("ansible", func(path string, entry fs.DirEntry, err error) error {
		modes[path] = "-rw-r--r--"
		if err == nil && entry.IsDir() {
			modes[path] = "drwxr-xr-x"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range documents(t) {
		modes[file] = "-rw-r--r--"
	}
	for _, script := range []string{"wire", "helper", "fleet", "callback", "example"} {
		modes["func/script-sets/sidecar/"+script+".py"] = "-rw-r--r--"
	}
	there := contents(t, releaseFolder(t))
	for file, content := range there {
		if mode, _, _ := strings.Cut(content, " "); mode != modes[file] {
			t.Errorf("%s has mode %s, want %q", file, mode, modes[file])
		}
	}
	if len(there) != len(modes) {
		t.Errorf("the release folder holds %q", slices.Sorted(maps.Keys(there)))
	}
}

// documents returns the files of a release that are read and not installed.
func documents(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "LICENSE", "connector/README.md"}
	for pattern, folder := range map[string]string{
		"../docs/*.*": "docs/", "../docs/zh-CN/*": "docs/zh-CN/", "../connector/sidecar__*.py": "connector/", "completions/*": "completions/", "monitoring/*": "monitoring/",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %q, %v", pattern, paths, err)
		}
		for _, path := range paths {
			files = append(files, folder+filepath.Base(path))
		}
	}
	return files
}

// Links between documents of a release hold, also where a folder has another place than here.
func TestDist_LinksHold(t *testing.T) {
	t.Parallel()
	testkit.CheckLinks(t, releaseFolder(t), map[string]string{
		"packaging/ansible": "ansible", "packaging/completions": "completions", "packaging/monitoring": "monitoring",
	})
}

func releaseFolder(t *testing.T) string {
	t.Helper()
	dir, err := dist()
	if err != nil {
		t.Fatalf("dist.sh: %v", err)
	}
	return dir
}

func TestDist_ChecksumsCoverEveryFile(t *testing.T) {
	t.Parallel()
	dir := releaseFolder(t)
	var listed []string
	for _, list := range []string{"sha256sums", "documents.sha256sums", "func/sha256sums"} {
		folder, base := filepath.Split(list)
		check := exec.Command("sha256sum", "--check", "--strict", "--quiet", base)
		check.Dir = filepath.Join(dir, folder)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("sha256sum --check in %s: %v\n%s", check.Dir, err, out)
		}
		names := namesIn(t, filepath.Join(dir, list))
		if !slices.IsSorted(names) {
			t.Errorf("not sorted: %q", names)
		}
		for _, file := range names {
			listed = append(listed, folder+file)
		}
	}
	for file, content := range contents(t, dir) {
		if strings.HasPrefix(content, "-") && file != "sha256sums" && !slices.Contains(listed, file) {
			t.Errorf("%s has no checksum", file)
		}
	}
}

// The ZIP and the tree are compared with Func's format in connector/test_scriptset.py.
func TestDist_ScriptsForFunc(t *testing.T) {
	t.Parallel()
	dir := releaseFolder(t)
	archive, err := zip.OpenReader(filepath.Join(dir, name+"-scripts.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	want := namesIn(t, filepath.Join(dir, "func", "sha256sums"))
	if len(archive.File) != len(want) {
		t.Errorf("the ZIP has %d files, the tree %q", len(archive.File), want)
	}
	for _, member := range archive.File {
		in, err := fs.ReadFile(archive, member.Name)
		out, errOut := os.ReadFile(filepath.Join(dir, "func", member.Name))
		if err != nil || errOut != nil || !bytes.Equal(in, out) {
			t.Errorf("%s differs between ZIP and tree (%v, %v)", member.Name, err, errOut)
		}
	}
}

// namesIn returns the file names in a list of checksums.
func namesIn(t *testing.T, list string) []string {
	t.Helper()
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		names = append(names, strings.TrimSuffix(line[66:], "\n"))
	}
	return names
}

// The program comes first: install.sh of 1.0.0 takes the first member of its name.
func TestDist_ArchiveHoldsWhatIsInstalled(t *testing.T) {
	t.Parallel()
	dir := releaseFolder(t)
	machines := map[string]elf.Machine{"linux-amd64": elf.EM_X86_64, "linux-arm": elf.EM_AARCH64}
	for folder, machine := range machines {
		headers, files := members(t, filepath.Join(dir, folder, name+".tar.gz"))
		released := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
		for i, header := range headers {
			mode := int64(0o644)
			if i == 0 {
				mode = 0o755
			}
			if header.Mode != mode || header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(released) {
				t.Errorf("%s: %+v", folder, header)
			}
		}
		binary, err := elf.NewFile(bytes.NewReader(files[name]))
		if err != nil || binary.Machine != machine || headers[0].Name != name {
			t.Errorf("%s: %v, %v, first %s", folder, binary, err, headers[0].Name)
		}
		for _, ending := range []string{".service", ".socket", "-ports.service", "-metrics.socket", "-reload.path", "-reload.service", ".catalog", ".8", ".5"} {
			beside, err := os.ReadFile(filepath.Join(dir, name+ending))
			if err != nil || !bytes.Equal(files[name+ending], beside) {
				t.Errorf("%s: %s differs from the one beside it (%v)", folder, name+ending, err)
			}
		}
	}
}

func members(t *testing.T, archive string) (headers []*tar.Header, files map[string][]byte) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	in, files := tar.NewReader(unzipped), map[string][]byte{}
	for {
		header, err := in.Next()
		if err == io.EOF {
			return headers, files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		headers, files[header.Name] = append(headers, header), content
	}
}

func TestDist_VersionFile(t *testing.T) {
	t.Parallel()
	dir := releaseFolder(t)
	folder := map[string]string{"amd64": "linux-amd64", "arm64": "linux-arm"}[runtime.GOARCH]
	_, files := members(t, filepath.Join(dir, folder, name+".tar.gz"))
	program := filepath.Join(t.TempDir(), name)
	if err := writeProgram(program, files[name]); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(program, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil || strings.Count(string(version), "\n") != 1 {
		t.Errorf("version holds %q, %v", version, err)
	}
	if want := name + " " + strings.TrimSpace(string(version)) + " "; !strings.HasPrefix(string(said), want) {
		t.Errorf("the program says %q, the file %q", said, version)
	}
}

// The builds have different paths, umasks and settings, as another person who verifies a release
// would.
func TestDist_Reproducible(t *testing.T) {
	t.Parallel()
	first := contents(t, releaseFolder(t))
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "a", "longer", "path")
	if err := copySource(checkout, other); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sh", "-c", `umask 077 && exec packaging/dist.sh --no-packages "$0"`, filepath.Join(t.TempDir(), "dist"))
	command.Dir = other
	command.Env = append(os.Environ(), "GOFLAGS=-tags=other", "GOAMD64=v3", "GOARM64=v8.1", "TZ=Asia/Shanghai")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	second := contents(t, command.Args[3])
	for file := range first {
		if first[file] != second[file] {
			t.Errorf("%s differs", file)
		}
	}
	if len(first) != len(second) {
		t.Errorf("the second release holds %q", slices.Sorted(maps.Keys(second)))
	}
}
