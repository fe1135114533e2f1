package packaging

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// write makes a file in the place, with its parent folders.
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

func TestDownload_ReplacesAnOlderOne(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		// A download from before checksums, with the program unpacked.
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

func TestDownload_EmptyFolder(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	if err := os.Mkdir(filepath.Join(here.dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	here.mustRun(t, "--url", newMirror(t, nil), "--arch", "x86_64", "--download-dir=./empty")
	mustBeDownload(t, here, "empty", "linux-amd64")
}

// The folder is replaced as a whole, so it must not hold other files of the user.
func TestDownload_ForeignFolderStays(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	rows := map[string]struct{ file, want string }{
		"a file":             {"notes.txt", "holds notes.txt, which is not part of a download"},
		"hidden":             {".env", "holds .env, which is not part"},
		"two full stops":     {"..x", "holds ..x, which is not part"},
		"a folder":           {"backup/of/everything", "holds backup, which is not part"},
		"a folder so called": {"version/x", "holds version, which is not part"},
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
func TestDownload_SimilarFolderStays(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.write(t, "images/sha256sums", "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa  debian.iso\n")
	here.write(t, "images/debian.iso", "precious")
	here.mustFail(t, "images holds debian.iso, which is not part", "--url", newMirror(t, nil), "--download-dir", "images")
}

func TestDownload_NeedsItsOwnFolder(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.write(t, "file", "precious")
	if err := os.Symlink(here.home, filepath.Join(here.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		".": "must name a separate folder", "..": "must name a separate folder", "/": "must name a separate folder",
		"./": "must name a separate folder", "a/..": "must name a separate folder",
		"file": "is not a folder", "link": "is not a folder", "link/": "is not a folder",
		"file/x": "cannot create the folder", here.dir: "which is not part of a download",
	} {
		here.mustFail(t, want, "--url", newMirror(t, nil), "--download-dir", dir)
	}
}

func TestDownload_InsideADownload(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.mustRun(t, "--url", newMirror(t, nil))
	here.dir = filepath.Join(here.dir, name)
	here.mustFail(t, "this folder is itself a download", "--url", newMirror(t, nil))
}

// Variables of the caller with the script's names must not name a folder to remove or a process to
// end, when the script fails before it sets them.
func TestDownload_EarlyFailureTouchesNothing(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	here.write(t, "temporary/file", "precious")
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	command := here.command("--url", "http://127.0.0.1:1", "--download-dir", "temporary/file/below")
	command.Env = append(command.Env, "TEMP="+filepath.Join(here.dir, "temporary"), "CHILD="+strconv.Itoa(other.Process.Pid))
	before := contents(t, here.dir)
	if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), "download.sh: cannot create the folder ") {
		t.Errorf("%v\n%s", err, out)
	}
	mustBeSame(t, before, contents(t, here.dir))
	if state, _ := os.ReadFile("/proc/" + strconv.Itoa(other.Process.Pid) + "/stat"); strings.Contains(string(state), ") Z") {
		t.Error("the other process was ended")
	}
}

func TestDownload_WithoutRoot(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	here := newPlace(t, plainCaller())
	for _, dir := range []string{here.dir, here.home, here.path} {
		if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	url := newMirror(t, nil)
	if told, err := here.asNobody(t, "--url", url, "--arch", "x86_64"); err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	mustBeDownload(t, here, name, "linux-amd64")
	for dir, want := range map[string]string{name: "belongs to another user", "mine/x": "cannot write to " + here.dir + "/mine"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(here.dir, "mine"), 0o755), os.Chown(filepath.Join(here.dir, name), 0, 0)); err != nil {
			t.Fatal(err)
		}
		before := contents(t, here.dir)
		if told, err := here.asNobody(t, "--url", url, "--download-dir", dir); err == nil || !strings.Contains(told, want) {
			t.Errorf("%s: %v\n%s", dir, err, told)
		}
		mustBeSame(t, before, contents(t, here.dir))
	}
}

const nobody = 65534

// asNobody runs the script from a pipe, because the user nobody may be unable to read the checkout.
func (p place) asNobody(t *testing.T, arguments ...string) (told string, err error) {
	t.Helper()
	script, err := os.Open(p.script)
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	p.script = "-s"
	command := p.command(append([]string{"--"}, arguments...)...)
	command.Stdin = script
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := command.CombinedOutput()
	return string(out), err
}
