package release

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// Variables of its own names that the caller happens to have must not become a folder to remove or a
// process to end, when it fails before it has either.
func TestAnEarlyFailureTouchesNothingOfTheCaller(t *testing.T) {
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
	if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), "download.sh: cannot make the folder ") {
		t.Errorf("%v\n%s", err, out)
	}
	mustBeSame(t, before, contents(t, here.dir))
	if state, _ := os.ReadFile("/proc/" + strconv.Itoa(other.Process.Pid) + "/stat"); strings.Contains(string(state), ") Z") {
		t.Error("the other process was ended")
	}
}

func TestItNeedsNoRoot(t *testing.T) {
	t.Parallel()
	need(t, os.Geteuid() == 0, "only root can become another user")
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

// asNobody runs the script from a pipe, as the checkout may be out of nobody's reach.
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
