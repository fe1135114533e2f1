package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// goBuild runs go with the arguments in the top folder, for a machine of the architecture.
func goBuild(t *testing.T, architecture string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = testkit.Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+architecture, "GOFLAGS=")
	if err := testkit.Explain(cmd); err != nil {
		t.Fatal(err)
	}
}

const kernelParameters = " quiet loglevel=1 panic=-1 systemd.unit=multi-user.target systemd.show_status=false " +
	"systemd.mask=systemd-networkd-wait-online.service"

// bootAMD64 boots a kernel under full emulation and returns the console output until the machine
// powered itself off.
func bootAMD64(t *testing.T, kernel, initrd, parameters string, options ...string) (console string) {
	t.Helper()
	options = append(options, "-cpu", "qemu64", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 mitigations=off systemd.mask=serial-getty@ttyS0.service"+kernelParameters+parameters)
	return bootEmulated(t, "qemu-system-x86_64", options...)
}

// maxBoot bounds the time until the script of an emulated machine begins. It takes a minute, and
// three on a busy host.
const maxBoot = 5 * time.Minute

// bootEmulated boots once more when the kernel stopped before it started anything, without a word:
// an emulator of two processors does that now and then.
func bootEmulated(t *testing.T, emulator string, options ...string) (console string) {
	t.Helper()
	for range 2 {
		if console = bootOnce(t, emulator, options...); machineOn(console)[0] != "" {
			break
		}
		t.Logf("the machine did not start; its console:\n%s", console)
	}
	return console
}

func bootOnce(t *testing.T, emulator string, options ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	console := &consoleLog{begun: make(chan struct{})}
	cmd := exec.CommandContext(ctx, emulator, append(options, "-accel", "tcg,thread=multi",
		"-smp", "2", "-m", "3072", "-nographic", "-no-reboot", "-net", "none")...)
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		select {
		case <-console.begun:
		case <-time.After(maxBoot):
			cancel()
		case <-ctx.Done():
		}
	}()
	err := cmd.Wait()
	if err != nil && machineOn(console.String())[0] != "" {
		t.Errorf("the machine ended with %v", err)
	}
	return console.String()
}

// consoleLog is the output of a machine. begun is closed once its script has said where it runs.
type consoleLog struct {
	text  bytes.Buffer
	begun chan struct{}
}

func (c *consoleLog) Write(p []byte) (int, error) {
	c.text.Write(p)
	select {
	case <-c.begun:
	default:
		if machineOn(c.text.String())[0] != "" {
			close(c.begun)
		}
	}
	return len(p), nil
}

func (c *consoleLog) String() string { return c.text.String() }

// wantResults checks that each outcome on the console is a success, and their number.
func wantResults(t *testing.T, console string, want int) {
	t.Helper()
	t.Logf("the machine is %s", machineOn(console)[0])
	results := regexp.MustCompile(`(?m)^RESULT (.*) (\d+) after (\d+) s\r?$`).FindAllStringSubmatch(console, -1)
	for _, result := range results {
		t.Logf("%s s: %s", result[3], result[1])
		if result[2] != "0" {
			t.Errorf("%s failed", result[1])
		}
	}
	if len(results) != want || t.Failed() {
		t.Errorf("got %d results, want %d; the console:\n%s", len(results), want, console)
	}
}

// machineOn returns the line of the console that names the machine, the release of its kernel, and
// the version of its systemd.
func machineOn(console string) []string {
	found := regexp.MustCompile(`KERNEL (\S+) \S+ systemd (\d+)`).FindStringSubmatch(console)
	if found == nil {
		return make([]string, 3)
	}
	return found
}

// countResults returns how many outcomes a script for a machine has.
func countResults(script string) int {
	return len(regexp.MustCompile(`(?m)^\t?(check|result|after_kill) ['a-zA-Z]`).FindAllString(script, -1))
}

func readScript(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
