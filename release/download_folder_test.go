package release

import (
	"os"
	"path/filepath"
	"testing"
)

// write makes a file in the place, with the folders above it.
func (p place) write(t *testing.T, file, content string) {
	t.Helper()
	path := filepath.Join(p.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADownloadReplacesAnOlderOne(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		// As it was before a download had checksums, and with the program unpacked.
		for _, file := range []string{name, name + ".tar.gz", name + ".service", "run-sidecar.sh", "version"} {
			here.write(t, name+"/"+file, "older")
		}
		here.mustRun(t, "--url", url, "--arch", "x86_64")
		mustBeDownload(t, here, name, "linux-amd64")
		// The other architecture, then over a damaged file.
		here.mustRun(t, "--url", url, "--arch", "aarch64")
		mustBeDownload(t, here, name, "linux-arm")
		here.write(t, name+"/install.sh", "damaged")
		here.mustRun(t, "--url", url, "--arch", "aarch64")
		mustBeDownload(t, here, name, "linux-arm")
	})
}

func TestAnEmptyFolderIsFilled(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	if err := os.Mkdir(filepath.Join(here.dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	here.mustRun(t, "--url", newMirror(t, nil), "--arch", "x86_64", "--download-dir=./empty")
	mustBeDownload(t, here, "empty", "linux-amd64")
}

// The folder is replaced as a whole, so it must hold nothing that somebody would miss.
func TestAFolderWithAnythingElseIsNotTouched(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	rows := map[string]struct{ file, want string }{
		"a file":             {"notes.txt", "holds notes.txt, which is no part of a download"},
		"hidden":             {".env", "holds .env, which is no part"},
		"two full stops":     {"..x", "holds ..x, which is no part"},
		"a folder":           {"backup/of/everything", "holds backup, which is no part"},
		"a folder so called": {"version/x", "holds version, which is no part"},
	}
	for _, called := range []string{"dash, curl", "bash, wget", "BusyBox, curl"} {
		for kind, row := range rows {
			t.Run(called+", "+kind, func(t *testing.T) {
				here := newPlace(t, callers()[called])
				here.write(t, name+"/"+name+".tar.gz", "older")
				here.write(t, name+"/"+row.file, "precious")
				here.mustFail(t, row.want, "--url", url)
			})
		}
	}
}

// A list of checksums alone does not make a folder a download.
func TestAFolderThatOnlyLooksLikeADownloadIsNotTouched(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.write(t, "images/sha256sums", "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa  debian.iso\n")
	here.write(t, "images/debian.iso", "precious")
	here.mustFail(t, "images holds debian.iso, which is no part", "--url", newMirror(t, nil), "--download-dir", "images")
}

func TestWhatIsNoFolderOfItsOwnIsRefused(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.write(t, "file", "precious")
	if err := os.Symlink(here.home, filepath.Join(here.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		".": "must name a folder of its own", "..": "must name a folder of its own", "/": "must name a folder of its own",
		"./": "must name a folder of its own", "a/..": "must name a folder of its own",
		"file": "is no folder", "link": "is no folder", "link/": "is no folder",
		"file/x": "cannot make the folder", here.dir: "which is no part of a download",
	} {
		here.mustFail(t, want, "--url", newMirror(t, nil), "--download-dir", dir)
	}
}

func TestItDoesNotDownloadIntoADownload(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.mustRun(t, "--url", newMirror(t, nil))
	here.dir = filepath.Join(here.dir, name)
	here.mustFail(t, "go to the one above it", "--url", newMirror(t, nil))
}
