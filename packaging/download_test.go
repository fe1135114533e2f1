package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDownload_FilesOfOneMachine(t *testing.T) {
	t.Parallel()
	url := newMirror(t, answers{"sha256sums": listWith(t, func(list string) string {
		return list + strings.Repeat("0", 64) + "  packages/" + name + "_1.1.0~rc.1-1_amd64.deb\n"
	})})
	eachCaller(t, func(t *testing.T, who caller) {
		for arch, folder := range map[string]string{"x86_64": "linux-amd64", "aarch64": "linux-arm"} {
			here := newPlace(t, who)
			here.mustRun(t, "--url", url, "--arch", arch)
			mustBeDownload(t, here, name, folder)
		}
	})
}

// mustBeDownload checks that the folder has the files of the release, and that no other file was
// made.
func mustBeDownload(t *testing.T, here place, called, folder string) {
	t.Helper()
	want, read := map[string]string{called: "drwxr-xr-x"}, documents(t)
	for file, content := range contents(t, releaseFolder(t)) {
		inside := strings.TrimPrefix(file, folder+"/")
		if file != "sha256sums" && file != "documents.sha256sums" && !slices.Contains(read, file) && !strings.Contains(inside, "/") && strings.HasPrefix(content, "-") {
			want[called+"/"+inside] = content
		}
	}
	there := contents(t, here.dir)
	for _, list := range []string{called + "/sha256sums", called + "/release.sha256sums"} {
		want[list] = there[list]
	}
	mustBeSame(t, want, there)
	mustPassItsList(t, filepath.Join(here.dir, called), len(want)-2)
}

func mustPassItsList(t *testing.T, dir string, files int) {
	t.Helper()
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "sha256sums")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, out)
	}
	if listed := namesIn(t, filepath.Join(dir, "sha256sums")); len(listed) != files {
		t.Errorf("%d files are there, listed are %q", files, listed)
	}
}

func TestDownload_Architecture(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	const copied = "Copy this folder to the Linux machine. There:\n    cd " + name + " && sudo ./install.sh\n"
	for _, row := range []struct{ machine, arguments, folder, told, out string }{
		{"Linux x86_64", "", "linux-amd64", "Architecture: Linux on x86_64 (this machine", "To install it here:\n    cd /"},
		{"Linux x86_64", "--arch=amd64", "linux-amd64", "Architecture: Linux on x86_64 (from --arch)", "To install it here:\n"},
		{"Linux x86_64", "--arch=arm64", "linux-arm", "Architecture: Linux on aarch64 (from --arch)", copied},
		{"Linux aarch64", "", "linux-arm", "Architecture: Linux on aarch64 (this machine", "To install it here:\n"},
		{"Darwin arm64", "", "linux-arm", "Architecture: Linux on aarch64 (this machine; --arch selects another)", copied},
		{"Darwin arm64", "--arch x86_64", "linux-amd64", "Architecture: Linux on x86_64 (from --arch)", copied},
		{"Linux armv7l", "--arch aarch64", "linux-arm", "Architecture: Linux on aarch64 (from --arch)", copied},
	} {
		here := onMachine(t, row.machine)
		out, told := here.mustRun(t, append(strings.Fields(row.arguments), "--url", url)...)
		if !strings.Contains(told, row.told) || !strings.Contains(out, row.out) {
			t.Errorf("%s, %s: told %q and %q", row.machine, row.arguments, told, out)
		}
		mustBeDownload(t, here, name, row.folder)
	}
	onMachine(t, "Linux armv7l").mustFail(t, "there is no release for armv7l, only for x86_64 and aarch64", "--url", url)
	onMachine(t, "Linux x86_64").mustFail(t, "there is no release for ../x", "--url", url, "--arch", "../x")
}

// onMachine returns a place whose uname prints this machine type.
func onMachine(t *testing.T, machine string) place {
	t.Helper()
	here := newPlace(t, plainCaller())
	system, hardware, _ := strings.Cut(machine, " ")
	uname := "#!/bin/sh\nfor option; do\ncase $option in\n-s) printf '%s ' " + system + " ;;\n-m) echo " + hardware + " ;;\nesac\ndone\n"
	path := filepath.Join(here.path, "uname")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := writeProgram(path, []byte(uname)); err != nil {
		t.Fatal(err)
	}
	return here
}

// The command in the last line must work as printed, except for sudo.
func TestDownload_NextCommandCanBePasted(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	for _, who := range []string{"dash, wget", "BusyBox, curl"} {
		for _, called := range []string{"plain", "two words", "it's $HOME", `-o "ptions`} {
			here := newPlace(t, callers()[who])
			out, _ := here.mustRun(t, "--url", url, "--download-dir", "new/"+called+"/")
			next := strings.ReplaceAll(out[strings.Index(out, "    cd "):], "sudo ./install.sh", "cat version")
			printed, err := exec.Command("sh", "-c", next).Output()
			if err != nil || !strings.Contains(out, "DataFlux Func Sidecar "+strings.TrimSpace(string(printed))+" for ") {
				t.Errorf("%s printed %q, %v\n%s", next, printed, err, out)
			}
		}
	}
}

func TestDownload_CallersEnvironment(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	here := newPlace(t, plainCaller())
	plain := here.command("--url", url, "--arch", "x86_64")
	command := exec.Command("/bin/sh", append([]string{"-c", `umask 077 && exec "$@"`, "sh"}, plain.Args...)...)
	command.Dir = here.dir
	command.Env = append(plain.Env, "DIR=/nowhere", "ARCH=none", "TEMP=/nowhere", "TOOL=none", "CHILD=1", "LC_ALL=de_DE", "POSIXLY_CORRECT=1")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustBeDownload(t, here, name, "linux-amd64")
}

func TestDownload_FromAPipe(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		script, err := os.ReadFile(here.script)
		if err != nil {
			t.Fatal(err)
		}
		here.script = "-s"
		command := here.command("--", "--url", url, "--arch", "x86_64")
		command.Stdin = bytes.NewReader(script)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		mustBeDownload(t, here, name, "linux-amd64")
	})
}

func TestDownload_HelpAndWrongUsage(t *testing.T) {
	t.Parallel()
	here := newPlace(t, plainCaller())
	out, told, exit := here.run("--help")
	for _, want := range []string{"--url", "--arch", "--download-dir", "not against a hostile server", "no default: required"} {
		if !strings.Contains(out, want) {
			t.Errorf("--help does not say %q", want)
		}
	}
	if exit != 0 || told != "" {
		t.Errorf("--help: exit status %d, %q", exit, told)
	}
	for want, arguments := range map[string]string{
		"--url is required":          "",
		"unknown argument: --mirror": "--mirror x",
		"--url needs a value":        "--url",
		"--arch needs a value":       "--arch= --url http://x",
	} {
		_, told, exit := here.run(strings.Fields(arguments)...)
		if exit != 2 || !strings.HasPrefix(told, "download.sh: "+want) || !strings.Contains(told, "\nUsage: ") {
			t.Errorf("%q: exit status %d, %q", arguments, exit, told)
		}
	}
	for _, url := range []string{"file:///etc", "ftp://127.0.0.1", "127.0.0.1", "https://", "-o/etc/passwd"} {
		here.mustFail(t, "--url must begin with https://", "--url", url)
	}
	for _, url := range []string{"http://me:secret@127.0.0.1", "http://127.0.0.1/a b", "http://127.0.0.1/?x={1,2}"} {
		here.mustFail(t, "--url has characters that are not permitted in a release URL", "--url", url)
	}
}
