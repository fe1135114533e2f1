package system

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// failuresOf returns the commands of the failures by message.
func failuresOf(t *testing.T, s spoken) map[string]string {
	t.Helper()
	var report struct {
		Findings []struct{ Level, Message, Command string }
	}
	if err := json.Unmarshal([]byte(s.stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	commands := map[string]string{}
	for _, f := range report.Findings {
		if f.Level == "failure" {
			commands[f.Message] = f.Command
		}
	}
	return commands
}

func TestCheck_CommandsFixFaults(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	c := newCredential(t, time.Now().Add(999*time.Hour), "127.0.0.1")
	d := newDaemon(t, strconv.Quote(testKey), append(c.lines(), `WORKDIR = "/"`)...)
	check := invocation{args: []string{"check", "--config", d.config, "--config-only", "--json", "--unit-dir", "", "--user", "nobody"}}
	for _, file := range []string{d.config, c.keyFile()} {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 1, 1); err != nil {
			t.Fatal(err)
		}
		found := failuresOf(t, invoke(t, check))
		if len(found) != 2 {
			t.Errorf("%s: %q", file, found)
		}
		for message, command := range found {
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil || command == "" {
				t.Errorf("%s: %q: %v %s", message, command, err, out)
			}
		}
	}
	if found := failuresOf(t, invoke(t, check)); len(found) != 0 {
		t.Errorf("is wrong still: %q", found)
	}
}

func TestCheck_AdviceIsNoCommand(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	for path, want := range map[string]string{
		d.config:        "run dataflux-func-sidecar configure (or install.sh)",
		"/etc":          "is not a regular file: correct the path",
		"/etc/passwd/x": "not a directory; hint: correct the path",
		"/none":         "create it with",
	} {
		if err := os.WriteFile(d.config, []byte("SECRET_KEY="+testKey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		found := failuresOf(t, invoke(t, invocation{args: []string{"check", "--config", path, "--json"}}))
		if said := fmt.Sprint(found); !strings.Contains(said, want) {
			t.Errorf("%s: %s", path, said)
		}
		for message, command := range found {
			if command != "" {
				t.Errorf("%s: the command is %q", message, command)
			}
		}
	}
}
