package system

import (
	"os"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"
)

func TestConfigure_RepeatedKeepsEverything(t *testing.T) {
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
		if strings.Contains(stderr, "dataflux-func-sidecar: line") {
			wantAll(t, stderr, "nothing was changed", "hint: correct the file by hand")
		}
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

// A key that configure adds must not become a variable of every command.
func TestConfigure_FileWithATable(t *testing.T) {
	const table = "[ENVIRONMENT]\nTOKEN = \"canary-value\""
	p := newPlace(t)
	p.write(table)
	_, stderr := p.configure(0, givenKey, "--secret-key-stdin", "--bind", "127.0.0.1:2")
	wantAll(t, stderr, "BIND: set: 127.0.0.1:2", "SECRET_KEY: set to the given one")
	if got, want := p.read(p.path), "BIND=\"127.0.0.1:2\"\nSECRET_KEY=\""+givenKey+"\"\n"+table; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.installUnits()
	if said := p.check(0); strings.Contains(stderr+said, "canary-value") {
		t.Errorf("a value is shown: %s%s", stderr, said)
	}
	p.write("[ENVIRONMENT]\nTOKEN = [\"canary-value\"]\nBIND = \"127.0.0.1:1\"\n")
	said := p.check(1)
	wantAll(t, said, p.path+": line 2, column 1: a variable of ENVIRONMENT must be a text", p.path+": line 3, column 1: BIND is a key of this file")
	if strings.Contains(said, "canary-value") {
		t.Errorf("a value is shown: %s", said)
	}
}

func TestConfigure_ChangesOnlyWhatIsGiven(t *testing.T) {
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

func TestConfigure_FailureChangesNothing(t *testing.T) {
	for _, test := range []struct {
		before, stdin, want string
		args                []string
	}{
		{"BIND=127.0.0.1:8099\nMAX_RUNNING=7\nSECRET_KEY=" + givenKey + "\n", "", "line 1, column 11: BIND must be one text in double quotes", nil},
		{"SECRET_KEY=\"" + givenKey + "\"\nTIMEOUT=1\n", "", "nothing was changed\nhint: correct the file by hand", nil},
		{"SECRET_KEY=\"" + givenKey + "\"\nBIND=\"localhost:1\"\n", "", "BIND address 1 of 1 must be an IP address with a port", nil},
		{"SECRET_KEY=[\"" + givenKey + "\",\n\"b\"]\n", "new", "SECRET_KEY is not one text on one line", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=[\"" + givenKey + "\", \"leaked\"]\n", givenKey, "SECRET_KEY is not one text on one line", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\nBIND=\"\"\"\n127.0.0.1:1\"\"\"\n", "", "BIND is not one text on one line", []string{"--bind", "127.0.0.1:2"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--bind: address 1 of 1 must be an IP address with a port", []string{"--bind", "127.0.0.1"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--bind: address 1 of 1 must be", []string{"--bind", ""}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "the Secret Key on standard input is empty", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "a\nb\n", "standard input holds a line break", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "it's $5", "single quote together with one of", []string{"--secret-key-stdin"}},
		{"SECRET_KEY=\"" + givenKey + "\"\n", "", "--unit-dir: /nonexistent is not a directory", []string{"--unit-dir", "/nonexistent"}},
	} {
		p := newPlace(t)
		p.write(test.before)
		stdout, stderr := p.configure(1, test.stdin, append(test.args, "--print-summary")...)
		wantAll(t, stderr, test.want)
		if strings.Contains(stderr, "dataflux-func-sidecar: line") {
			wantAll(t, stderr, "nothing was changed", "hint: correct the file by hand")
		}
		if stdout != "" || strings.Contains(stderr, givenKey) || p.read(p.path) != test.before {
			t.Errorf("%q: %s%s\nthe file is now %q", test.before, stdout, stderr, p.read(p.path))
		}
		if entries, _ := os.ReadDir(p.unitDir); len(entries) != 0 {
			t.Errorf("%q: drop-ins were written: %v", test.before, entries)
		}
	}
}
