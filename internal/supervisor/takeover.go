package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

// takeOver goes on where another program has executed this one in its own process. An error ends
// the process: systemd then ends the commands and starts the service again.
func takeOver(
	o Options, descriptor string, thread *privsep.ForkThread, log *journal.Log,
) error {
	signals := newSignals()
	signals.catchTerminations()
	if err := os.Unsetenv(handoverVariable); err != nil {
		return err
	}
	if err := privsep.MarkCloseOnExec(3); err != nil {
		return err
	}
	fd, err := strconv.Atoi(descriptor)
	if err != nil {
		return fmt.Errorf("%s is for the daemon itself only", handoverVariable)
	}
	s, err := goOn(o, fd, thread, log)
	if err != nil {
		return fmt.Errorf("cannot go on after a reload, so the commands end: %w", err)
	}
	return s.serve(signals)
}

const (
	// restoreGCPercent makes the collector run less often until commands and callers go on.
	restoreGCPercent = 400
	// freeDelay is the time from a reload until its garbage is collected: callers have waited, and
	// come first.
	freeDelay = time.Second
)

// goOn makes the supervisor of the new program.
func goOn(
	o Options, fd int, thread *privsep.ForkThread, log *journal.Log,
) (*supervisor, error) {
	// Callers wait, and little of what is read is garbage.
	defer debug.SetGCPercent(debug.SetGCPercent(restoreGCPercent))
	file, in, d, err := readHandover(fd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it holds keys and output
	r, err := d.resources(log)
	if err != nil {
		return nil, err
	}
	r.byHand, r.thread = o.Bind != "", thread
	e, err := newExecutor(o.Version, r, log)
	if err != nil {
		return nil, err
	}
	s := newSupervisor(o, e, r, log)
	return s, s.adopt(in, d)
}

// readHandover reads the memory file that is open under a descriptor.
func readHandover(fd int) (file *os.File, in *handover.Reader, d document, err error) {
	file = os.NewFile(uintptr(fd), "handover")
	if file == nil {
		return nil, nil, d, errors.New("cannot read the handover: there is no descriptor for it")
	}
	if in, err = handover.NewReader(file); err == nil {
		err = in.Document(&d)
	}
	if err != nil {
		return nil, nil, d, errors.Join(err, file.Close())
	}
	return file, in, d, nil
}

// received are the settings of a document.
type received struct {
	settings config.Config
	sockets  []socket // without their files
	identity *message.Identity
	pair     config.TLSPair // valid with identity
}

// settings parses what the reload brought.
func (d document) settings() (r received, err error) {
	if r.settings, err = config.Parse(d.Request.Path, []byte(d.Request.Config)); err != nil {
		return r, err
	}
	if err = r.settings.SetFileSecrets(d.Request.SecretFiles); err != nil {
		return r, err
	}
	for _, l := range d.Sockets {
		addresses, err := config.ParseBind(l.Address)
		if err != nil || len(addresses) != 1 {
			return r, fmt.Errorf("cannot read the handover: %q is no address", l.Address)
		}
		r.sockets = append(r.sockets, socket{address: addresses[0], metrics: l.Metrics})
	}
	speakTLS := tlsSockets(r.settings, r.sockets)
	if speakTLS == nil {
		return r, nil
	}
	r.pair, err = r.settings.ParseTLS(d.Request.Certificate, d.Request.Key)
	r.identity = &message.Identity{
		Certificate: d.Request.Certificate, Key: d.Request.Key, Listeners: speakTLS,
	}
	return r, err
}

// resources makes of the document what openAsRoot opens at a start. It regains the ids of the
// daemon, and then lets the commands go on.
func (d document) resources(log *journal.Log) (r resources, err error) {
	if err := privsep.Reenter(d.Principals); err != nil {
		return r, err
	}
	debug.SetMaxThreads(maxThreads)
	got, err := d.settings()
	if err != nil {
		return r, err
	}
	r.settings, r.sockets, r.identity = got.settings, got.sockets, got.identity
	if d.Cgroups != nil {
		if r.cgroups, err = exec.RestoreCgroups(*d.Cgroups, r.settings.MaxRunning); err != nil {
			return r, err
		}
		if err := r.cgroups.Thaw(); err != nil {
			return r, err
		}
	} else {
		r.cgroupsErr = errors.New(d.NoCgroups)
	}
	if r.descriptors, err = exec.NewDescriptors(); err != nil {
		return r, err
	}
	if r.identity != nil {
		reportValidity(got.pair, log)
	}
	for i, l := range d.Sockets {
		r.sockets[i].file = os.NewFile(uintptr(l.FD), l.Address)
	}
	dir, err := state.AdoptDir(d.State)
	if err != nil {
		return r, err
	}
	if r.state, err = openLedgers(dir, r.settings); err != nil {
		return r, err
	}
	r.principals, r.asRoot, r.text = d.Principals, d.AsRoot, d.Request.Config
	r.restored = true
	if d.Trigger > 0 {
		r.trigger = &reloadTrigger{file: os.NewFile(uintptr(d.Trigger), triggerName)}
	}
	if d.Control >= 0 {
		if r.control, err = adoptListener(d.Control); err != nil {
			return r, err
		}
	}
	return r, nil
}

// adoptListener closes the descriptor: package net works on a duplicate.
func adoptListener(fd int) (*net.UnixListener, error) {
	file := os.NewFile(uintptr(fd), controlName)
	defer func() { _ = file.Close() }()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot use the control socket: %w", err)
	}
	control, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.New("cannot use the control socket: it is no Unix socket")
	}
	control.SetUnlinkOnClose(false)
	return control, nil
}

func (d document) adoptRoles(log *journal.Log) (processes []*privsep.Role, err error) {
	for _, r := range d.Roles {
		process, err := privsep.AdoptRole(r.Role, sayOf(log))
		if err != nil {
			return nil, err
		}
		processes = append(processes, process)
	}
	return processes, nil
}

// adopt lets commands, callers and roles of the document go on, and notes what to report.
func (s *supervisor) adopt(in *handover.Reader, d document) error {
	processes, err := d.adoptRoles(s.log)
	if err != nil {
		return err
	}
	var channels []io.ReadWriteCloser
	for _, p := range processes {
		channels = append(channels, p.Channel)
	}
	text, err := in.Bytes(d.Executor)
	if err != nil {
		return err
	}
	sessions, err := s.executor.Restore(in, text, channels)
	if err != nil {
		return err
	}
	s.log.AddLost(d.LostEntries)
	s.announced, s.notifier.owesReady = d.Announced, d.OwesReady
	for i, p := range processes {
		r := newNetworkRole(p, sessions[i])
		r.setup, r.announced = d.Roles[i].Setup, true
		go r.run(nil)
		if i == 0 && d.Accepting {
			s.current = r
		} else {
			s.retired = append(s.retired, r)
			go s.watchRetired(r)
		}
	}
	s.report = &reloadReport{document: d, client: adoptClient(d.Client)}
	return nil
}

// adoptClient returns nil if there is none, or none any more.
func adoptClient(fd int) *net.UnixConn {
	if fd < 0 {
		return nil
	}
	file := os.NewFile(uintptr(fd), "client")
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil
	}
	client, _ := conn.(*net.UnixConn)
	return client
}

// reloadReport is what the new program has to report once it serves.
type reloadReport struct {
	document document
	client   *net.UnixConn // nil: there is none
}

// reportReload answers the reload that made this program, if that is not done, and logs it.
func (s *supervisor) reportReload() {
	if s.report == nil {
		return
	}
	d := s.report.document
	running, _, _, _ := s.executor.Counts()
	callers := 0
	for _, r := range s.roles() {
		callers += r.session.Callers()
	}
	took := time.Duration(monotonic() - d.Began).Round(time.Millisecond)
	changed := config.Changes([]byte(d.Before), []byte(d.Request.Config))
	problem := ""
	if s.current != nil && s.current.setup != s.setup {
		problem = "; the former network role goes on, as no new one could be started: see the " +
			"entries before"
	}
	for _, name := range d.RenewedKeys {
		changed = append(changed, "the SECRET_FILE of KEY."+name)
	}
	if d.Renewed {
		changed = append(changed, "the TLS certificate")
	}
	s.reloaded = time.Now()
	commands, waiting := count(running, "command", "commands"), count(callers, "caller", "callers")
	version := s.version
	if d.Version != version {
		version = d.Version + " to " + version
	}
	logf(s.log, journal.Reloaded(), "Reloaded: version %s, %s running, %s waiting, took %s; "+
		"changed: %s%s", version, commands, waiting, took,
		cmp.Or(strings.Join(changed, ", "), "nothing in the configuration"), problem)
	if s.report.client != nil {
		q := reloadRequest{conn: s.report.client, answered: make(chan struct{})}
		q.answer(answer{Done: true, Text: fmt.Sprintf("Reloaded: %s and %s go on (took %s)%s",
			commands, waiting, took, problem)})
	}
	s.report = nil
	s.setStatus()
	time.AfterFunc(freeDelay, s.memory.free)
}
