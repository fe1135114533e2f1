package system

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"

	"dataflux-func-sidecar/test/testkit"
)

const (
	givenKey  = "Schluessel-0815-geheim"
	stockBind = "127.0.0.1:8099,172.17.0.1:8099"
)

// place has the files of a separate host for configure and check.
type place struct {
	t             *testing.T
	path, unitDir string
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t, filepath.Join(t.TempDir(), "dataflux-func-sidecar"), t.TempDir()}
	return p
}

func (p place) write(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) read(path string) string {
	p.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

func (p place) modeOf(path string) os.FileMode {
	p.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return info.Mode().Perm()
}

// configure wants the given exit status and returns the output.
func (p place) configure(want int, stdin string, args ...string) (stdout, stderr string) {
	p.t.Helper()
	args = append([]string{"configure", "--config", p.path, "--unit-dir", p.unitDir}, args...)
	got, stdout, stderr := testkit.Run(p.t, stdin, args...)
	if got != want {
		p.t.Fatalf("%v: status %d, want %d\n%s", args, got, want, stderr)
	}
	return stdout, stderr
}

func wantAll(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestConfigure_AnyUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		p := newPlace(t)
		old := syscall.Umask(umask)
		stdout, stderr := p.configure(0, "", "--print-summary")
		syscall.Umask(old)
		c, err := config.Load(p.path) // checks the mode too
		if err != nil || config.JoinBind(c.Bind) != stockBind || len(c.Keys) != 1 || len(c.Keys[0]) != 32 {
			t.Fatalf("created %+v, %v", c, err)
		}
		dropIn := config.SocketDropIn(p.unitDir)
		if p.modeOf(p.path) != 0o600 || p.modeOf(dropIn) != 0o644 || p.modeOf(filepath.Dir(dropIn)) != 0o755 {
			t.Errorf("umask %o: modes %o %o %o", umask, p.modeOf(p.path), p.modeOf(dropIn), p.modeOf(filepath.Dir(dropIn)))
		}
		wantAll(t, p.read(dropIn), "[Socket]\nListenStream=\nListenStream=127.0.0.1:8099\nListenStream=172.17.0.1:8099\n")
		wantAll(t, stderr, p.path+": created", "BIND: set: "+stockBind, "SECRET_KEY: generated")
		if strings.Contains(stderr, "to apply") {
			t.Errorf("install.sh applies it by itself, and needs not be told: %s", stderr)
		}
		if strings.Contains(stderr, string(c.Keys[0])) {
			t.Errorf("stderr shows the key: %s", stderr)
		}
		want := "Bind:\n    " + stockBind + "\nSecret Key:\n    " + string(c.Keys[0]) +
			"\nTo shutdown:\n    sudo systemctl stop dataflux-func-sidecar\nTo start:\n    sudo systemctl start dataflux-func-sidecar\n\nNow open " +
			stockBind + " and have fun!\n"
		if stdout != want {
			t.Errorf("summary\n%s\nwant\n%s", stdout, want)
		}
	}
}

func TestConfigure_SaysHowToApply(t *testing.T) {
	_, stderr := newPlace(t).configure(0, "")
	wantAll(t, stderr, "to apply: dataflux-func-sidecar configure --apply\n")
}

func TestConfigure_GeneratesAMissingKey(t *testing.T) {
	for _, before := range []string{"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"\" # later\n", "BIND=\"127.0.0.1:1\"\n", "", "# nothing yet"} {
		p := newPlace(t)
		p.write(before)
		_, stderr := p.configure(0, "")
		wantAll(t, stderr, "BIND: kept", "SECRET_KEY: generated")
		if got := p.read(p.path); !regexp.MustCompile(`(?m)^SECRET_KEY="[A-Z2-7]{32}"`).MatchString(got) {
			t.Errorf("%q becomes %q", before, got)
		}
	}
}

func TestConfigure_ReplacesAWrongBind(t *testing.T) {
	p := newPlace(t)
	p.write("BIND=\"0.0.0.0.8099\"\nSECRET_KEY=\"" + givenKey + "\"\n")
	p.configure(0, "", "--bind", "0.0.0.0:8099")
	if got := p.read(p.path); got != "BIND=\"0.0.0.0:8099\"\nSECRET_KEY=\""+givenKey+"\"\n" {
		t.Errorf("got %q", got)
	}
}

func TestConfigure_FileThatOthersCouldRead(t *testing.T) {
	for _, args := range [][]string{nil, {"--bind", "127.0.0.1:5"}} {
		p := newPlace(t)
		p.write("SECRET_KEY=\"" + givenKey + "\"\n")
		if err := os.Chmod(p.path, 0o644); err != nil {
			t.Fatal(err)
		}
		_, stderr := p.configure(0, "", args...)
		wantAll(t, stderr, "had mode 0644 and has 0600 now; other users may know the key")
		if p.modeOf(p.path) != 0o600 {
			t.Errorf("mode %o", p.modeOf(p.path))
		}
	}
}

func TestConfigure_FollowsALink(t *testing.T) {
	p := newPlace(t)
	p.write("SECRET_KEY=\"" + givenKey + "\"\n")
	target := p.path
	p.path = filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, p.path); err != nil {
		t.Fatal(err)
	}
	p.configure(0, "", "--bind", "127.0.0.1:5")
	wantAll(t, p.read(target), "BIND=\"127.0.0.1:5\"")
	if info, err := os.Lstat(p.path); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link has gone: %v, %v", info, err)
	}
}

func TestConfigure_AfterAnInterruptedRun(t *testing.T) {
	p := newPlace(t)
	leftover := filepath.Join(filepath.Dir(p.path), ".dataflux-func-sidecar.123.tmp")
	if err := os.WriteFile(leftover, []byte("SECRET_KEY=\"ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(leftover, long, long); err != nil {
		t.Fatal(err)
	}
	p.configure(0, "")
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is there still: %v", err)
	}
	for _, dir := range []string{filepath.Dir(p.path), filepath.Dir(config.SocketDropIn(p.unitDir))} {
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s holds %v", dir, entries)
		}
	}
}

func TestConfigure_FormerSudoDropIn(t *testing.T) {
	const ours = "# Generated from ALLOW_SUDO = true by dataflux-func-sidecar configure.\n" +
		"# Changes here are lost: change ALLOW_SUDO and run that command again.\n[Service]\nCapabilityBoundingSet=~\n"
	for _, test := range []struct {
		name, text string
		stays      bool
	}{
		{"written by a former release", ours, false},
		{"written by it, then edited", ours + "Nice=5\n", false},
		{"an administrator's", "[Service]\nNice=5\n", true},
	} {
		for _, allow := range []string{"false", "true"} {
			p := newPlace(t)
			dropIn := config.FormerSudoDropIn(p.unitDir)
			if err := os.Mkdir(filepath.Dir(dropIn), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dropIn, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			p.write("SECRET_KEY=\"" + givenKey + "\"\nALLOW_SUDO=" + allow + "\n")
			_, stderr := p.configure(0, "")
			_, err := os.Stat(dropIn)
			if (err == nil) != test.stays || strings.Contains(stderr, "allow-sudo.conf: removed") == test.stays {
				t.Errorf("%s, with ALLOW_SUDO=%s: %v\n%s", test.name, allow, err, stderr)
			}
			if _, err := os.Stat(filepath.Dir(dropIn)); (err == nil) != test.stays {
				t.Errorf("%s: its directory: %v", test.name, err)
			}
		}
	}
}

func TestConfigure_EmptyUnitDir(t *testing.T) {
	p := newPlace(t)
	t.Chdir(p.unitDir) // no file may appear in the working directory
	_, stderr := p.configure(0, "", "--unit-dir", "")
	found := p.check(0, "--unit-dir", "", "--user", "daemon")
	if entries, _ := os.ReadDir(p.unitDir); len(entries) != 0 || strings.Contains(stderr+found, "systemctl") || strings.Contains(found, "install.sh") {
		t.Errorf("%v\n%s%s", entries, stderr, found)
	}
}

// The units of this host are those of a service with the default configuration.
func TestConfigure_OtherConfigLeavesTheUnits(t *testing.T) {
	p := newPlace(t)
	installed, _ := os.ReadFile(config.SocketDropIn("/etc/systemd/system"))
	_, _, said := testkit.Run(t, "", "configure", "--config", p.path, "--bind", "127.0.0.1:8098")
	now, _ := os.ReadFile(config.SocketDropIn("/etc/systemd/system"))
	if !bytes.Equal(now, installed) || strings.Contains(said, "/etc/systemd") || strings.Contains(said, "--apply") {
		t.Errorf("got %q: %s", now, said)
	}
	_, found, _ := testkit.Run(t, "", "check", "--config", p.path)
	if strings.Contains(found, "/etc/systemd") || strings.Contains(found, "systemctl restart") {
		t.Errorf("check looks at the installed service:\n%s", found)
	}
}

func TestConfigure_ArgumentsThatMayBeAKey(t *testing.T) {
	_, stderr := newPlace(t).configure(2, "", givenKey)
	if wantAll(t, stderr, "--secret-key-stdin"); strings.Contains(stderr, givenKey) {
		t.Errorf("it is repeated: %s", stderr)
	}
}

func TestConfigure_TimeOfAStop(t *testing.T) {
	p := newPlace(t)
	p.installUnits()
	dropIn := config.StopDropIn(p.unitDir)
	for _, test := range []struct{ lines, want string }{
		{"", ""},
		{"DRAIN_TIMEOUT = \"5m\"", "[Service]\nTimeoutStopSec=330s\n"},
		{"DRAIN_TIMEOUT = \"5m\"\nKILL_GRACE = \"1500ms\"", "[Service]\nTimeoutStopSec=323s\n"},
		{"DRAIN_TIMEOUT = \"45s\"", ""},
		{"DRAIN_TIMEOUT = \"50s\"", "[Service]\nTimeoutStopSec=80s\n"},
		{"", ""},
	} {
		p.write("SECRET_KEY = \"" + givenKey + "\"\n" + test.lines + "\n")
		_, stderr := p.configure(0, "")
		text, err := os.ReadFile(dropIn)
		if !strings.HasSuffix(string(text), test.want) || test.want == "" && err == nil {
			t.Errorf("%q: got %q, %v, want %q", test.lines, text, err, test.want)
		}
		if changed := strings.Contains(stderr, dropIn+": "); changed != strings.Contains(stderr, "to apply: ") && test.lines != "" {
			t.Errorf("%q: it does not say how to apply that: %s", test.lines, stderr)
		}
	}
	p.write("SECRET_KEY = \"" + givenKey + "\"\n")
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dropIn, []byte("[Service]\nTimeoutStopSec=9s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p.configure(0, ""); p.read(dropIn) != "[Service]\nTimeoutStopSec=9s\n" {
		t.Error("the drop-in of an administrator was changed")
	}
}
