package system

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

const testKey = "canary-key-0123456789abcdef"

// daemonCount numbers the daemons of a run, for their addresses.
var daemonCount atomic.Int32

// daemon is one started program.
type daemon struct {
	roleUser    string   // empty: another user than that of commands
	environment []string // added to daemonEnvironment, or replacing parts of it
	t           testing.TB
	address     string
	metrics     string // their address; empty: none
	key         string // signs the requests
	config      string
	logPath     string
	pid         int
	ended       chan struct{}
	state       *os.ProcessState
}

// startDaemon starts the program with a configuration of one key and the given lines, and returns
// once it is ready. It is stopped at the test's end, and its log must hold no key then.
func startDaemon(t testing.TB, lines ...string) *daemon {
	t.Helper()
	return startDaemonWithKeys(t, strconv.Quote(testKey), lines...)
}

func startDaemonWithKeys(t testing.TB, keys string, lines ...string) *daemon {
	t.Helper()
	d := newDaemon(t, keys, lines...)
	d.start()
	return d
}

// newDaemon prepares a daemon at its own loopback address, so that parallel tests do not conflict.
func newDaemon(t testing.TB, keys string, lines ...string) *daemon {
	t.Helper()
	n, pid := daemonCount.Add(1), os.Getpid()
	d := &daemon{
		t: t, key: testKey, config: filepath.Join(t.TempDir(), "config"),
		address: fmt.Sprintf("127.%d.%d.%d:8099", 2+pid>>8%250, pid&0xff, n%254+1),
	}
	d.logPath = d.config + ".log"
	d.configure(keys, lines...)
	t.Cleanup(d.finish)
	return d
}

func (d *daemon) configure(keys string, lines ...string) {
	d.t.Helper()
	text := "SECRET_KEY = " + keys + "\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start may be called again once the daemon has ended; the log goes on.
func (d *daemon) start() {
	d.t.Helper()
	before := strings.Count(d.log(), "Ready: ")
	d.launch()
	d.eventually("ready", func() bool { return strings.Count(d.log(), "Ready: ") > before })
}

func (d *daemon) launch() {
	d.t.Helper()
	log, err := os.OpenFile(d.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args := []string{"serve", "--config", d.config, "--bind", d.address, "--state-dir", d.stateDir()}
	if d.metrics != "" {
		args = append(args, "--metrics", d.metrics)
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody", "--role-user", cmp.Or(d.roleUser, "daemon"))
	}
	cmd := exec.Command(testkit.Program(d.t), args...)
	cmd.Stderr, cmd.Dir, cmd.Env = log, "/", append(daemonEnvironment(), d.environment...)
	d.follow(cmd)
}

// stateDir is the same after each restart of the daemon.
func (d *daemon) stateDir() string { return filepath.Join(filepath.Dir(d.config), "state") }

// follow starts cmd and records how it ends.
func (d *daemon) follow(cmd *exec.Cmd) {
	d.t.Helper()
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.pid, d.ended = cmd.Process.Pid, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait() // its ProcessState tells all
		d.state = cmd.ProcessState
		close(ended)
	}(d.ended)
}

// daemonEnvironment has variables that a service manager sets and commands must never see.
func daemonEnvironment() []string {
	return []string{
		"PATH=/canary/path:/usr/bin:/bin", "HOME=/canary/home", "LANG=C.UTF-8",
		"CREDENTIALS_DIRECTORY=/canary/credentials", "INVOCATION_ID=canary-invocation",
		"SIDECAR_CANARY=canary-environment", "LD_PRELOAD=", "BASH_ENV=/canary/bashenv",
		"NOTIFY_SOCKET=/canary/notify", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=canary", "STATE_DIRECTORY=/canary/state",
	}
}

func (d *daemon) log() string {
	text, err := os.ReadFile(d.logPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(text)
}

func (d *daemon) running() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// eventually waits for a condition, and fails the test if the daemon ends meanwhile.
func (d *daemon) eventually(what string, holds func() bool) {
	d.t.Helper()
	wasRunning := d.running()
	testkit.Eventually(d.t, what, func() bool {
		if holds() {
			return true
		}
		if wasRunning && !d.running() && !holds() {
			d.t.Fatalf("the daemon ended before this came: %s", what)
		}
		return false
	})
}

func (d *daemon) awaitLog(text string) {
	d.t.Helper()
	d.eventually("in the log: "+text, func() bool { return strings.Contains(d.log(), text) })
}

func (d *daemon) signal(pid int, s syscall.Signal) {
	d.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		d.t.Fatalf("cannot signal %d: %v", pid, err)
	}
}

// stop asks the daemon to end and waits until it has.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(d.pid, syscall.SIGTERM)
	d.awaitEnd()
}

func (d *daemon) awaitEnd() {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(testkit.Patience):
		_ = syscall.Kill(d.pid, syscall.SIGKILL)
		d.t.Fatalf("the daemon did not stop in %v\n%s", testkit.Patience, d.log())
	}
}

func (d *daemon) finish() {
	if d.pid != 0 && d.running() {
		d.stop()
		if !d.state.Success() {
			d.t.Errorf("the daemon ended with %v", d.state)
		}
	}
	if log := d.log(); strings.Contains(log, d.key) || strings.Contains(log, testKey) {
		d.t.Errorf("the key is in the log:\n%s", log)
	}
	if d.t.Failed() {
		d.t.Logf("log of the daemon:\n%.20000s", d.log())
	}
}
