package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/executor"
	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep"
)

// This file is the reload as far as the running program carries it out; takeover.go is the rest, in
// the new one. Until the execve each step can be undone, and a failure leaves the daemon as it was.
//
//	check       BIND is the same; keys that are gone are refused from now on
//	rest        the executor does nothing: no frame half sent, no birth under way, pipes unread
//	write       all that the daemon knows goes into a sealed memory file
//	rehearsal   the new program reads that file in a process of its own
//	freeze      commands cannot signal the daemon while execve has changed its saved ids
//	execve      same process, same arguments, same children

const (
	// handoverVariable has the descriptor of the memory file in the environment of the new program.
	handoverVariable = "SIDECAR_HANDOVER"
	// RehearseCommand is the hidden subcommand that reads the memory file and does nothing with it.
	RehearseCommand = "rehearse"

	maxRest      = 5 * time.Second
	maxRehearsal = 10 * time.Second
	maxFreeze    = 500 * time.Millisecond
	maxCalm      = time.Second
	maxFlush     = time.Second // of the journal
)

// document is what the daemon tells its successor, besides what the parts write themselves.
type document struct {
	Version string  // of the program that wrote it
	Began   int64   // when the request came, nanoseconds of CLOCK_MONOTONIC
	Request request // from which the successor takes its settings
	Before  string  // the text of the configuration so far
	Renewed bool    // the TLS pair is another one
	// RenewedKeys are the names of the keys with other secrets in the same SECRET_FILE.
	RenewedKeys []string
	LostEntries int64 // of the journal
	AsRoot      bool
	Announced   bool
	OwesReady   bool // systemd was not told that the daemon is ready
	Principals  privsep.Principals
	Control     int // descriptors, -1: none
	Client      int
	Trigger     int // descriptor of the file of the reloadTrigger, 0: none
	Sockets     []socketState
	Cgroups     *exec.CgroupsState // nil: commands have none
	NoCgroups   string             // why
	State       state.DirState
	Roles       []roleState
	Accepting   bool // the first role accepts callers; the others drain
	Executor    handover.Blob
}

// socketState is a listening socket.
type socketState struct {
	FD      int
	Address string
	Metrics bool
}

// roleState is a network role.
type roleState struct {
	Role  privsep.RoleState
	Setup string
}

// reload makes this process the program of the request. It returns if that failed, and the daemon
// goes on as before.
func (s *supervisor) reload(q *reloadRequest) {
	err := s.handOver(q)
	switch {
	case errors.Is(err, privsep.ErrSignal) && s.signals.stopping():
		err = errStopping
	case errors.Is(err, privsep.ErrSignal):
		err = errors.New("cannot reload now: SIGHUP has arrived meanwhile; hint: reload again")
	}
	s.logRefused(err)
	q.answer(answer{Text: err.Error()})
}

func (s *supervisor) logRefused(err error) {
	s.executor.CountRefusedReload()
	logf(s.log, journal.ReloadRefused(),
		"Reload refused, the daemon goes on as before: %v", err)
}

var errStopping = errors.New("cannot reload: the daemon is stopping; hint: start it again, which " +
	"reads the configuration")

func (s *supervisor) handOver(q *reloadRequest) error {
	if len(q.Keys) == 0 { // no configuration is without: a release that names them otherwise
		return errForeignRequest
	}
	if err := s.checkBind(q); err != nil {
		return err
	}
	revoked := s.revoke(q.Keys)
	err := s.restAndExecute(q)
	if revoked {
		err = fmt.Errorf("only the removal of keys is in force: %w", err)
	}
	return err
}

// checkBind refuses other addresses than before. Those of a start by hand are not from BIND.
func (s *supervisor) checkBind(q *reloadRequest) error {
	if s.byHand {
		return nil
	}
	wanted, err := config.ParseBind(strings.Join(q.Bind, ","))
	if err != nil {
		return err
	}
	if describeDifference(wanted, s.settings.Bind) != "" {
		return errors.New("cannot reload BIND: systemd holds the sockets; hint: run as root: " +
			config.Apply)
	}
	if !slices.Equal(q.MetricsBind, config.Texts(s.settings.MetricsBind)) {
		return errors.New("cannot reload METRICS_BIND: its sockets are opened at a start; hint: " +
			"run as root: " + config.Apply)
	}
	return nil
}

// revoke refuses the keys that are not among those of the request, and returns whether there are
// any.
func (s *supervisor) revoke(keys [][]byte) (revoked bool) {
	stay := make(map[string]bool, len(keys))
	for _, k := range keys {
		stay[string(k)] = true
	}
	var valid [][]byte
	present := credentials(s.settings)
	for _, k := range present {
		if stay[string(k)] {
			valid = append(valid, k)
		}
	}
	if len(valid) == len(present) {
		return false
	}
	s.executor.Revoke(valid)
	return true
}

// restAndExecute returns only if it failed.
func (s *supervisor) restAndExecute(q *reloadRequest) error {
	if err := privsep.CheckReenter(s.principals); err != nil {
		return fmt.Errorf("cannot reload: %w", err)
	}
	s.dismissEnded()
	ctx, cancel := context.WithTimeout(context.Background(), maxRest)
	defer cancel()
	if err := s.state.pause(ctx); err != nil {
		return err
	}
	defer s.state.resume()
	if err := s.state.syncForHandover(); err != nil {
		return notNow(err)
	}
	roles := s.roles()
	sessions := sessionsOf(roles)
	if err := s.executor.Rest(ctx, sessions); err != nil {
		return notNow(err)
	}
	defer s.executor.Resume(sessions)
	if err := s.state.sync(); err != nil {
		return notNow(err)
	}
	defer func() {
		for _, r := range roles {
			r.process.Resume()
		}
	}()
	return s.rehearseAndExecute(q)
}

// rehearseAndExecute returns only if it failed. The executor is at rest.
func (s *supervisor) rehearseAndExecute(q *reloadRequest) error {
	w, err := handover.NewWriter()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	s.log.Flush(maxFlush) // what it has not written by then is lost, and counted
	file, err := s.write(w, q)
	if err != nil {
		return err
	}
	args := []string{"dataflux-func-sidecar", RehearseCommand}
	if err := privsep.Rehearse(q.program, args, file, maxRehearsal); err != nil {
		return fmt.Errorf("cannot go on as the program that asked for the reload: %w; hint: "+
			"restart the service to run it anyway, which waits for commands up to DRAIN_TIMEOUT "+
			"and then ends them", err)
	}
	return s.execute(q, w, file)
}

// notNow is for what may be otherwise a moment later.
func notNow(err error) error {
	err = fmt.Errorf("cannot reload now: %w", err)
	if strings.Contains(err.Error(), "; hint: ") {
		return err
	}
	return fmt.Errorf("%w; hint: reload again", err)
}

// write writes the handover.
func (s *supervisor) write(w *handover.Writer, q *reloadRequest) (*os.File, error) {
	d := document{
		Version: s.version, Began: q.began, Request: q.request,
		Before: s.text, Renewed: s.renews(q.request),
		RenewedKeys: s.renewedKeys(q.request), LostEntries: s.log.Owed(),
		AsRoot: s.asRoot, Announced: s.announced, OwesReady: s.notifier.owes(),
		Principals: s.principals,
		Control:    -1, Client: -1, Accepting: s.current != nil,
	}
	if s.control != nil {
		d.Control = w.Keep(descriptorOf(s.control))
	}
	if q.conn != nil {
		d.Client = w.Keep(descriptorOf(q.conn))
	}
	if s.trigger != nil {
		d.Trigger = w.Keep(descriptorOf(s.trigger.file))
	}
	for _, l := range s.sockets {
		d.Sockets = append(d.Sockets,
			socketState{w.Keep(descriptorOf(l.file)), l.address.String(), l.metrics})
	}
	if s.cgroupsErr != nil {
		d.NoCgroups = s.cgroupsErr.Error()
	} else {
		cgroups := s.cgroups.HandOver(w)
		d.Cgroups = &cgroups
	}
	d.State = s.state.dir.HandOver(w)
	roles := s.roles()
	for _, r := range roles {
		d.Roles = append(d.Roles, roleState{r.process.HandOver(w), r.setup})
	}
	text, err := s.executor.HandOver(w, sessionsOf(roles))
	if err != nil {
		return nil, err
	}
	d.Executor = w.AddBytes(text)
	return w.Finish(d)
}

// execute returns only if it failed.
func (s *supervisor) execute(q *reloadRequest, w *handover.Writer, file *os.File) error {
	if s.cgroupsErr == nil {
		defer func() { _ = s.cgroups.Thaw() }()
		if err := s.cgroups.Freeze(maxFreeze); err != nil {
			return err
		}
	}
	if err := exec.AwaitCalmThreads(maxCalm); err != nil {
		return notNow(err)
	}
	openFiles, err := s.inheritedOpenFiles()
	if err != nil {
		return err
	}
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(arrived)
	if s.signals.stopping() {
		return errStopping
	}
	if len(s.signals.hangups) > 0 { // from before signal.Notify
		if !s.asRoot {
			return privsep.ErrSignal
		}
		<-s.hangups
		s.triggerReload()
		s.log.Flush(maxFlush)
	}
	return s.thread.Exec(privsep.Execution{
		Program: q.program, Argv: os.Args,
		Env:  append(os.Environ(), handoverVariable+"="+strconv.Itoa(descriptorOf(file))),
		Keep: append(w.Descriptors(), descriptorOf(file)), OpenFiles: openFiles,
		Signals: arrived,
	})
}

// inheritedOpenFiles is the soft limit of descriptors that this program was started with.
func (s *supervisor) inheritedOpenFiles() (uint64, error) {
	undo, err := s.executor.InheritOpenFiles()
	if err != nil {
		return 0, err
	}
	var limit unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Cur, errors.Join(err, undo())
}

// renews says that a request brings another TLS pair than the one that is served.
func (s *supervisor) renews(q request) bool {
	return s.identity != nil && !(bytes.Equal(s.identity.Certificate, q.Certificate) &&
		bytes.Equal(s.identity.Key, q.Key))
}

// renewedKeys returns the names of the keys that keep a SECRET_FILE, and get other secrets from it.
func (s *supervisor) renewedKeys(q request) (names []string) {
	before := s.settings.FileSecrets()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		after, stays := q.SecretFiles[name]
		if stays && !slices.EqualFunc(before[name], after, bytes.Equal) {
			names = append(names, name)
		}
	}
	return names
}

// descriptorOf avoids File.Fd, which may make a descriptor blocking that is shared.
func descriptorOf(c syscall.Conn) int {
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// Rehearse is what RehearseCommand does: it decodes the memory file, and makes of it what can be
// made without the descriptors. Nil means that this program can take over.
func Rehearse() error {
	// It has the keys, and its file may be readable.
	if err := privsep.SetNonDumpable(); err != nil {
		return err
	}
	file, in, d, err := readHandover(privsep.RehearsalFD)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if _, err := d.settings(); err != nil {
		return err
	}
	if err := d.State.Check(); err != nil {
		return err
	}
	text, err := in.Bytes(d.Executor)
	if err != nil {
		return err
	}
	return executor.CheckHandover(text)
}
