package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// shells lists the shells in which install.sh must work, each as a command line.
func shells() [][]string {
	return [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}}
}

// onADarwin runs install.sh on the host of the tests, where it must never install anything: uname
// says macOS.
func onADarwin(t *testing.T, shell []string, args ...string) (output string, status int) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "uname"), []byte("#!/bin/sh\necho Darwin\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, int) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, shell[0], append(shell[1:len(shell):len(shell)], args...)...)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, _ := run("-c", "uname -s"); out != "Darwin\n" {
		t.Fatalf("%s does not find the uname of this test, so install.sh is not started: %s", shell, out)
	}
	return run(append([]string{"../../install.sh"}, args...)...)
}

func TestInstall_ArgumentsInEveryShell(t *testing.T) {
	const wrong, elsewhere = 2, 1
	for _, shell := range shells() {
		_, err := exec.LookPath(shell[0])
		testkit.Need(t, err == nil, "this needs "+shell[0])
		for _, tried := range []struct {
			args   string
			status int
			said   string
		}{
			{"--help", 0, "--secret-key-file FILE"},
			{"-h", 0, "see it in ps"},
			{"--bnd 127.0.0.1:8099", wrong, "unknown argument: --bnd"},
			{"--bnd=127.0.0.1:8099", wrong, "unknown argument: --bnd\n"},
			{"now", wrong, "unknown argument: now"},
			{"--bind", wrong, "--bind needs a value"},
			{"--secret-key-file", wrong, "--secret-key-file needs a value"},
			{"--secret-key=a --secret-key-file=b", wrong, "the key is given twice"},
			{"--purge", wrong, "--purge requires --uninstall"},
			{"--uninstall --bind=127.0.0.1:8099", wrong, "no other argument than --purge"},
			{"--purge --uninstall --secret-key-file -", wrong, "no other argument than --purge"},
			{"--uninstall --purge", elsewhere, "this is Darwin"},
			{"--bind 127.0.0.1:8099 --secret-key=a=b", elsewhere, "copy this folder there"},
			{"--secret-key a --bind=[::1]:8099", elsewhere, "this is Darwin"},
			{"", elsewhere, "runs on the Linux host that runs DataFlux Func's containers"},
		} {
			output, status := onADarwin(t, shell, strings.Fields(tried.args)...)
			if status != tried.status || !strings.Contains(output, tried.said) {
				t.Errorf("%s install.sh %s: status %d, want %d and %q:\n%s", shell, tried.args, status, tried.status, tried.said, output)
			}
			if told := strings.Contains(output, "Usage:"); told != (status != elsewhere) {
				t.Errorf("%s install.sh %s: usage told: %t\n%s", shell, tried.args, told, output)
			}
		}
	}
}

// This host's busybox serves in the machine too, unless the machine's libraries are older.
func TestInstall_EveryShell(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	box, err := exec.LookPath("busybox")
	testkit.Need(t, err == nil, "this needs busybox")
	m.place(box, "/usr/bin/busybox", 0o755)
	for _, shell := range shells() {
		if why, status := m.try(append(shell[:len(shell):len(shell)], "-c", "true")...); status != 0 && os.Getenv("SIDECAR_E2E_SUITE") != "" {
			t.Logf("not tried in %s of %s: %s", shell, suite(), why)
			continue
		}
		install := append(shell[:len(shell):len(shell)], checkout+"/install.sh")
		m.run(append(install, "--bind=[::1]:8099,127.0.0.1:8099", "--secret-key", givenKey)...)
		m.checkAnswers("[::1]:8099")
		if output := m.run(append(install, "--uninstall", "--purge")...); !strings.Contains(output, "Removed user dffs.") {
			t.Errorf("%s:\n%s", shell, output)
		}
	}
}
