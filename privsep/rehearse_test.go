package privsep

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func rehearseShell(t *testing.T, script string, limit time.Duration) error {
	t.Helper()
	shell, err := os.Open("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	input, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	return Rehearse(shell, []string{"sh", "-c", script}, input, limit)
}

func TestRehearse_Verdict(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"success", "echo said >&2; exit 0", ""},
		{"failure with a reason", "echo first >&2; echo second >&2; exit 7", "exit status 7: first"},
		{"failure without one", "exit 1", "exit status 1"},
		{"a crash", "kill -SEGV $$", "killed by signal 11"},
		{"much output", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3", "exit status 3: xxx"},
	} {
		err := rehearseShell(t, test.script, time.Minute)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// What the program is given, as it sees it.
func TestRehearse_Surroundings(t *testing.T) {
	err := rehearseShell(t, `echo "$(env | grep -vc '^PWD=\|^_=\|^SHLVL=') variables, in $(pwd), `+
		`$(cat /proc/$$/fd/3 | wc -l) line, $(ls -l /proc/$$/fd | grep -c 'sh$') program" >&2; exit 1`, time.Minute)
	const want = "0 variables, in /, 1 line, 0 program"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestRehearse_TimeLimit(t *testing.T) {
	err := rehearseShell(t, "exec sleep 1000", 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("got %v, want the time limit", err)
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("got child %d, %v, want none", pid, err)
	}
}

func TestRehearse_FileThatIsNoProgram(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "of another kind": "\x7fELF\x02\x01\x01 no more"} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		program, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		err = Rehearse(program, []string{"program"}, program, time.Minute)
		if err == nil || !strings.Contains(err.Error(), "exec format error") {
			t.Errorf("%s: got %v, want an exec format error", name, err)
		}
	}
}
