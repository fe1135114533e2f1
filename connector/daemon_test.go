package connector_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// maxStarts bounds how often a daemon is started again.
const maxStarts = 50

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // these tests wait far more than they compute
	testkit.Main(m)
}

// daemon is the program as a service manager runs it: the listening socket outlives it, and it is started
// again when a test has killed it.
type daemon struct {
	t        *testing.T
	key      string
	dir      string // of its own: configuration, log, state
	scratch  string // that commands may write to
	listener net.Listener
	tls      net.Listener // that the daemon speaks TLS on
	mounts   string       // a shell command for a mount namespace of the daemon; empty: it has none

	mu      sync.Mutex
	process *os.Process
	stopped bool
	ended   chan struct{}
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	return startDaemonWith(t, "", "")
}

// startDaemonWith adds lines to the configuration, and runs the daemon with mounts of its own.
func startDaemonWith(t *testing.T, settings, mounts string) *daemon {
	t.Helper()
	d := &daemon{t: t, key: "canary-key-ß-" + strconv.FormatInt(time.Now().UnixNano(), 36), dir: t.TempDir(), scratch: t.TempDir(), ended: make(chan struct{})}
	d.mounts = mounts
	d.listener, d.tls = testkit.Listen(t), testkit.Listen(t)
	// Fewer running commands than by default, so that a test can have them all.
	text := fmt.Sprintf("SECRET_KEY = %q\nMAX_RUNNING = 4\n%s\n%s", d.key, settings, d.certify()) + d.named()
	err := errors.Join(os.WriteFile(d.file("config"), []byte(text), 0o600), os.Chmod(d.scratch, 0o777), os.Chmod(filepath.Dir(d.scratch), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	go d.keepRunning(testkit.Program(t))
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) file(name string) string { return filepath.Join(d.dir, name) }

// keepRunning starts the daemon as often as it ends, until stop.
func (d *daemon) keepRunning(path string) {
	defer close(d.ended)
	var sockets []*os.File
	for _, l := range []net.Listener{d.listener, d.tls} {
		socket, err := l.(*net.TCPListener).File()
		if err != nil {
			d.t.Errorf("no descriptor of the socket: %v", err)
			return
		}
		defer func() { _ = socket.Close() }()
		sockets = append(sockets, socket)
	}
	for range maxStarts {
		cmd := d.command(path, sockets)
		if !d.begin(cmd) {
			return
		}
		_ = cmd.Wait() // that it ended is why it starts again
	}
	d.t.Errorf("the daemon ended %d times", maxStarts)
}

func (d *daemon) command(path string, sockets []*os.File) *exec.Cmd {
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path, "serve", "--config", d.file("config"), "--state-dir", d.file("state")}
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody", "--role-user", "nobody") // its commands kill the network role
	}
	cmd := exec.Command("/bin/sh", args...)
	if d.mounts != "" {
		args[1] = d.mounts + " && " + args[1]
		cmd = exec.Command("unshare", append([]string{"--mount", "/bin/sh"}, args...)...)
	}
	cmd.Dir, cmd.ExtraFiles, cmd.Env = "/", sockets, []string{"LISTEN_FDS=2", "PATH=/usr/bin:/bin"}
	return cmd
}

// begin starts cmd unless the test is over.
func (d *daemon) begin(cmd *exec.Cmd) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return false
	}
	log, err := os.OpenFile(d.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		cmd.Stderr = log
		err = cmd.Start()
		_ = log.Close()
	}
	if err != nil {
		d.t.Errorf("cannot start the daemon: %v", err)
		return false
	}
	d.process = cmd.Process
	return true
}

func (d *daemon) stop() {
	d.mu.Lock()
	d.stopped = true
	if d.process != nil {
		_ = d.process.Signal(syscall.SIGTERM) // it may be between two lives
	}
	d.mu.Unlock()
	select {
	case <-d.ended:
	case <-time.After(testkit.Patience):
		_ = d.process.Kill()
		d.t.Errorf("the daemon did not stop in %v\n%s", testkit.Patience, d.log())
	}
}

func (d *daemon) log() string {
	text, _ := os.ReadFile(d.file("log")) // one that is not there yet is empty
	return string(text)
}

// namedKeys are the keys with a name, and what test_actions.py knows of them.
var namedKeys = map[string]string{
	"deploy":  `ACTIONS = ["deploy", "hold", "hostname"]`,
	"backup":  `ACTIONS = ["backup"]`,
	"monitor": "ACTIONS = []\nJOBS = \"all\"",
	"free":    "# any command",
	"past":    "EXPIRES = 2026-01-31",
}

// privateKey is the one private key of the key fleet of all daemons, in PEM, and its public key.
var privateKey = sync.OnceValues(func() (text []byte, public string) {
	key, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), base64.StdEncoding.EncodeToString(key)
})

const actions = `
[ACTION.deploy]
RUN = 'printf "%s to %s\n" "$VERSION" "$TARGET"; exit "${#TARGET}"'
ENVS = { VERSION = 'v[0-9]+(\.[0-9]+)*', TARGET = '[a-z]*' }
DEFAULTS = { TARGET = "" }
TIMEOUT = "10m"
DESCRIPTION = "Deploys a version"

[ACTION.backup]
RUN = ["/bin/sh", "-c", 'echo "backup of $dir"']
ENVS = { dir = '/[a-z/]*' }

[ACTION.hold]
RUN = 'until [ -e "$GATE" ]; do sleep 0.02; done'
ENVS = { GATE = '/[A-Za-z0-9_./-]+' }
ONE_AT_A_TIME = "refuse"

[ACTION.hostname]
RUN = "hostname"

[ACTION.count]
RUN = "wc -c"
STDIN = true
`

// secret returns the secret of a named key.
func (d *daemon) secret(name string) string { return d.key + "-" + name }

// named returns the tables of the configuration.
func (d *daemon) named() string {
	text := actions
	for name, rules := range namedKeys {
		text += fmt.Sprintf("\n[KEY.%s]\nSECRET = %q\n%s\n", name, d.secret(name), rules)
	}
	_, public := privateKey()
	return text + fmt.Sprintf("\n[KEY.fleet]\nPUBLIC_KEYS = %q\n", public)
}

// describe lays down what the tests read: the keys and the certificates to trust.
func (d *daemon) describe(folder string) {
	d.t.Helper()
	roots, err := os.ReadFile(d.file("ca.pem"))
	err = errors.Join(err, os.WriteFile(filepath.Join(folder, "key"), []byte(d.key), 0o600), os.WriteFile(filepath.Join(folder, "ca.pem"), roots, 0o644))
	private, _ := privateKey()
	err = errors.Join(err, os.WriteFile(filepath.Join(folder, "private.pem"), private, 0o600))
	for name := range namedKeys {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, "key-"+name), []byte(d.secret(name)), 0o600))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) environment() []string {
	return []string{
		"SIDECAR_URL=http://" + d.listener.Addr().String(),
		"SIDECAR_TLS_URL=https://" + d.tls.Addr().String(),
		"SIDECAR_SCRATCH=" + d.scratch,
	}
}
