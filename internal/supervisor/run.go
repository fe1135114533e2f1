// Package supervisor is the daemon around its two roles. Run opens what needs root, gives root up,
// keeps one network role alive, and drains both roles at the end.
//
//   - run.go: the start, in the order of privilege
//   - sockets.go, principals.go, state.go, tls.go: what is opened as root
//   - executor.go, network.go: the two roles and their settings
//   - failed_start.go: what a start that fails says, and how long it waits
//   - supervisor.go, role.go, replace.go, drain.go: the life of a role, from its start to the
//     end of the daemon
//   - control.go, ask.go, trigger.go, reload.go, takeover.go: the reload: the control socket, what
//     asks for one, the steps until the execve, and those of the program that takes over
//   - notify.go, signals.go, memory.go, processors.go, log.go: systemd and the Go runtime
package supervisor

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

// maxThreads bounds the threads of this process, including those that commands hold up in system
// calls. The limit of the Go runtime, 10,000, ends the program.
const maxThreads = 1 << 17

// Options say how the daemon is started.
type Options struct {
	Version  string // of the program, for log and metrics
	Config   string // path of the configuration
	StateDir string // directory of the state that survives a restart
	User     string // runs the commands, when started as root
	RoleUser string // runs the daemon, when started as root; empty: DefaultRoleUser if it exists
	Bind     string // addresses to listen on if no sockets are inherited
	Metrics  string // addresses of the metrics, with Bind
}

// resources are what only root can open. They stay open after the drop.
type resources struct {
	settings    config.Config
	sockets     []socket
	identity    *message.Identity // certificate and key for TLS; nil without TLS
	state       *durableState
	principals  privsep.Principals
	descriptors *exec.Descriptors
	cgroups     *exec.Cgroups
	cgroupsErr  error // why there are no cgroups

	text     string            // of the configuration
	asRoot   bool              // the daemon was root: only root can read its configuration
	byHand   bool              // the sockets are those of --bind
	control  *net.UnixListener // for reloads; nil if it could not be made
	trigger  *reloadTrigger    // for SIGHUP after the drop; nil: there is none
	thread   *privsep.ForkThread
	restored bool // a reload has executed this program
}

// Run serves until SIGTERM or SIGINT, then drains. It returns an error if the daemon cannot start
// or cannot close its state. The order is that of privilege: open as root, drop root and prove it,
// start the network role, serve.
//
// It must be called on the main thread of the process, which it keeps: only that thread survives an
// execve, and the network roles die with the thread that has started them.
func Run(o Options, log *journal.Log) error {
	if err := privsep.SetName("dataflux-func-sidecar"); err != nil {
		return err
	}
	thread := privsep.NewForkThread()
	ended := make(chan error, 1)
	go func() {
		ended <- run(o, thread, log)
		thread.Close()
	}()
	thread.Serve()
	return <-ended
}

func run(o Options, thread *privsep.ForkThread, log *journal.Log) error {
	if descriptor, found := os.LookupEnv(handoverVariable); found {
		return takeOver(o, descriptor, thread, log)
	}
	signals := newSignals()
	r, err := openAsRoot(o, signals, log)
	if err != nil {
		return err
	}
	if err := privsep.Drop(r.principals); err != nil {
		return err
	}

	// The network role starts first: it gets ready while the executor is made.
	r.thread = thread
	process, err := startNetworkProcess(r.thread, r.sockets, log)
	if err != nil {
		return err
	}
	e, err := newExecutor(o.Version, r, log)
	if err != nil {
		process.Kill()
		return err
	}
	s := newSupervisor(o, e, r, log)
	s.next = process
	signals.catchTerminations()
	return s.serve(signals)
}

// errServed wraps an error that came after the daemon had served: it is no failed start.
var errServed = errors.New("the daemon has stopped, but its state was not closed in order")

// openAsRoot opens everything that the roles need and that only root can open.
func openAsRoot(
	o Options, signals *signals, log *journal.Log,
) (r resources, err error) {
	r.asRoot, r.byHand = os.Geteuid() == 0, o.Bind != ""
	debug.SetMaxThreads(maxThreads)
	syscall.Umask(0o022) // inherited by commands; a login has the same
	inherited, err := inheritedSockets()
	if err != nil {
		return r, err
	}
	if err := privsep.MarkCloseOnExec(3); err != nil {
		return r, err
	}
	if r.descriptors, err = exec.NewDescriptors(); err != nil { // before anything else stays open
		return r, err
	}
	var text []byte
	if r.settings, text, err = config.LoadText(o.Config); err != nil {
		return r, err
	}
	r.text = string(text)
	if r.sockets, err = completeSockets(inherited, o, r.settings, log); err != nil {
		return r, err
	}
	if r.identity, err = loadIdentity(r.settings, r.sockets, log); err != nil {
		return r, err
	}
	if r.state, err = openState(o.StateDir, r.settings); err != nil {
		return r, err
	}
	if r.control, err = openControl(o.StateDir); err != nil {
		logf(log, journal.Degraded(), "The daemon cannot be reloaded: cannot make %s in the state "+
			"directory: %v; a restart applies changes", controlName, err)
	}
	if r.asRoot {
		r.trigger = openReloadTrigger()
	}
	if r.principals, err = lookUpPrincipals(o.User, o.RoleUser, log); err != nil {
		return r, err
	}
	releaseTerminal(signals)
	exec.ProtectFromOOM()
	role := r.principals.Role
	r.cgroups, r.cgroupsErr = exec.OpenCgroups(role.UID, role.GID, r.settings.MaxRunning)
	return r, nil
}

// releaseTerminal gives up the controlling terminal: a command could push keystrokes into the shell
// that started the daemon. Ctrl-C still arrives, as it goes to the process group. SIGHUP is ignored
// meanwhile, as the kernel sends it to a session leader that gives up its terminal.
func releaseTerminal(signals *signals) {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return // there is none
	}
	defer func() { _ = terminal.Close() }()
	signal.Ignore(syscall.SIGHUP)
	defer signals.catchHangups()
	_ = unix.IoctlSetInt(int(terminal.Fd()), unix.TIOCNOTTY, 0)
}
