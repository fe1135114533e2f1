package main

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

	"dataflux-func-sidecar/config"
)

const (
	givenKey  = "Schluessel-0815-geheim"
	stockBind = "127.0.0.1:8099,172.17.0.1:8099"
)

// place is a host of its own for configure and check.
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

// configure wants the given exit status and returns what was said.
func (p place) configure(want int, stdin string, args ...string) (stdout, stderr string) {
	p.t.Helper()
	var out, said bytes.Buffer
	args = append([]string{"--config", p.path, "--unit-dir", p.unitDir}, args...)
	if got := runConfigure(args, strings.NewReader(stdin), &out, &said); got != want {
		p.t.Fatalf("configure %v: status %d, want %d\n%s", args, got, want, said.String())
	}
	return out.String(), said.String()
}

func wantAll(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestConfigureCreatesAllUnderAnyUmask(t *testing.T) {
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
		wantAll(t, stderr, p.path+": created", "BIND: set: "+stockBind, "SECRET_KEY: generated", "to apply: systemctl daemon-reload")
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

func TestARepeatedConfigureKeepsEverything(t *testing.T) {
	p := newPlace(t)
	p.configure(0, givenKey+"\r\n", "--secret-key-stdin", "--bind", "[::1]:8200, 127.0.0.1:1")
	written, dropIn := p.read(p.path), config.SocketDropIn(p.unitDir)
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, path := range []string{p.path, dropIn} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	for _, again := range []struct {
		stdin string
		args  []string
	}{{"", nil}, {givenKey, []string{"--secret-key-stdin"}}, {"", []string{"--bind", "[::1]:8200,127.0.0.1:1"}}} {
		stdout, stderr := p.configure(0, again.stdin, again.args...)
		wantAll(t, stderr, "BIND: kept: [::1]:8200,127.0.0.1:1", "SECRET_KEY: kept")
		if stdout != "" || strings.Contains(stderr, "to apply") || p.read(p.path) != written {
			t.Errorf("%v: something changed: %s%s", again.args, stdout, stderr)
		}
		for _, path := range []string{p.path, dropIn} {
			if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(long) {
				t.Errorf("%v: %s was written again", again.args, path)
			}
		}
	}
}

func TestConfigureChangesNothingButWhatWasGiven(t *testing.T) {
	before := "# mine\r\nSHELL = \"/bin/bash\" # why\r\nSECRET_KEY='old key' # from Func\r\nBIND=\"127.0.0.1:1\" # local\r\nMAX_RUNNING=7"
	p := newPlace(t)
	p.write(before)
	_, stderr := p.configure(0, "", "--bind", "127.0.0.1:2")
	after := strings.Replace(before, "127.0.0.1:1", "127.0.0.1:2", 1)
	if got := p.read(p.path); got != after {
		t.Errorf("--bind gives %q", got)
	}
	wantAll(t, stderr, "BIND: set: 127.0.0.1:2", "SECRET_KEY: kept", "fewer than 16 bytes")
	_, stderr = p.configure(0, givenKey, "--secret-key-stdin")
	if got := p.read(p.path); got != strings.Replace(after, "'old key'", `"`+givenKey+`"`, 1) {
		t.Errorf("--secret-key-stdin gives %q", got)
	}
	wantAll(t, stderr, "BIND: kept: 127.0.0.1:2", "SECRET_KEY: set to the given one")
	if strings.Contains(stderr, givenKey) {
		t.Errorf("stderr shows the key: %s", stderr)
	}
}

func TestConfigureGeneratesAKeyWhereThereIsNone(t *testing.T) {
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

func TestConfigureMendsAWrongBindByTheGivenOne(t *testing.T) {
	p := newPlace(t)
	p.write("BIND=\"0.0.0.0.8099\"\nSECRET_KEY=\"" + givenKey + "\"\n")
	p.configure(0, "", "--bind", "0.0.0.0:8099")
	if got := p.read(p.path); got != "BIND=\"0.0.0.0:8099\"\nSECRET_KEY=\""+givenKey+"\"\n" {
		t.Errorf("got %q", got)
	}
}

func TestConfigureTouchesNothingItCannotDoRight(t *testing.T) {
	for _, test := range []struct {
		before, stdin, want string
		args                []string
	}{
		{"BIND=127.0.0.1:8099\nSECRET_KEY=" + givenKey + "\n", "", "line 1, column 11: BIND must be one text in double quotes", nil},
		{"SECRET_KEY=\"" + givenKey + "\"\nTIMEOUT=1\n", "", "nothing was changed: mend the file by hand", nil},
		{"SECRET_KEY=\"" + givenKey + "\"\nBIND=\"localhost:1\"\n", "", "has a host name: write 127.0.0.1:1", nil},
		{"SECRET_KEY=[\"" + givenKey + "\",\n\"b\"]\n", "new", "SECRET_KEY is not one text on one line", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\nBIND=\"\"\"\n127.0.0.1:1\"\"\"\n", "", "BIND is not one text on one line", []string{"--bind", "127.0.0.1:2"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--bind: address 1 of 1 has no port: write 127.0.0.1:8099", []string{"--bind", "127.0.0.1"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--bind: address 1 of 1 is empty", []string{"--bind", ""}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "the Secret Key on standard input is empty", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "a\nb\n", "standard input holds a line break", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "it's $5", "single quote together with one of", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--unit-dir: /nonexistent is not a directory", []string{"--unit-dir", "/nonexistent"}},
	} {
		p := newPlace(t)
		p.write(test.before)
		stdout, stderr := p.configure(1, test.stdin, append(test.args, "--print-summary")...)
		wantAll(t, stderr, test.want)
		if stdout != "" || strings.Contains(stderr, givenKey) || p.read(p.path) != test.before {
			t.Errorf("%q: %s%s\nthe file is now %q", test.before, stdout, stderr, p.read(p.path))
		}
		if entries, _ := os.ReadDir(p.unitDir); len(entries) != 0 {
			t.Errorf("%q: drop-ins were written: %v", test.before, entries)
		}
	}
}

func TestConfigureClosesAFileThatOthersCouldRead(t *testing.T) {
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

func TestConfigureFollowsALinkRatherThanReplacingIt(t *testing.T) {
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

func TestConfigureSurvivesWhatAnInterruptedRunLeft(t *testing.T) {
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

func TestTheSudoDropInComesAndGoesWithAllowSudo(t *testing.T) {
	p := newPlace(t)
	dropIn := config.SudoDropIn(p.unitDir)
	for _, allow := range []string{"false", "true", "true", "false"} {
		p.write("SECRET_KEY=\"" + givenKey + "\"\nALLOW_SUDO=" + allow + "\n")
		p.configure(0, "")
		text, err := os.ReadFile(dropIn)
		if (err == nil) != (allow == "true") {
			t.Fatalf("ALLOW_SUDO=%s: %q, %v", allow, text, err)
		}
		if err == nil {
			wantAll(t, string(text), "[Service]\nCapabilityBoundingSet=~\n")
		}
	}
	if _, err := os.Stat(filepath.Dir(dropIn)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left over: %v", err)
	}
}

func TestConfigureRefusesArgumentsAsTheyMightBeTheKey(t *testing.T) {
	_, stderr := newPlace(t).configure(2, "", givenKey)
	if wantAll(t, stderr, "--secret-key-stdin"); strings.Contains(stderr, givenKey) {
		t.Errorf("it is repeated: %s", stderr)
	}
}
