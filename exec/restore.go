package exec

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
)

// This file is the part of the new program; handover.go has both.

// Restore makes a Runner of NewRestingRunner go on with what the program before it handed over. It
// is called after UseCgroups or AdoptOrphans, and before RestoreProcess.
func (r *Runner) Restore(s RunnerState) error {
	if !r.gate.isResting() {
		return errors.New("cannot restore commands: the runner is not at rest")
	}
	for _, shell := range s.Shells {
		if err := r.restoreShell(shell); err != nil {
			return err
		}
	}
	for _, both := range s.Pipes {
		if err := both.Stdout.check(); err != nil {
			return err
		}
		if err := both.Stderr.check(); err != nil {
			return err
		}
		r.pipes.start(both.PID, r.poller, r.descriptors.null,
			stream{fd: both.Stdout.FD, wide: both.Stdout.Wide},
			stream{fd: both.Stderr.FD, wide: both.Stderr.Wide})
	}
	return nil
}

// restoreShell waits for the exit of a shell. Until RestoreProcess its result counts as given.
func (r *Runner) restoreShell(s ShellState) (err error) {
	if s.PID <= 1 {
		return fmt.Errorf("cannot restore a command: %d is no process id of one", s.PID)
	}
	p := r.newProcess(s.PID)
	p.grace, p.signal, p.endWithShell = s.Grace, s.Signal, s.EndWithShell
	p.reason, p.exited, p.killed, p.settled = s.Reason, s.Exited, s.Killed, true
	if p.cgroup, err = r.restoreCgroup(s.Cgroup); err != nil {
		return err
	}
	for _, h := range s.Pinned {
		p.descendants.pinned.add(handle{h.PID, h.PIDFD, h.Started})
	}
	if s.GraceOver {
		close(p.graceOver)
	}
	p.pipes = r.endedPipes(s.PID)
	r.reaper.add(s.PID)
	r.shells.Store(s.PID, p)
	if r.spawner.pidfd {
		// The shell is our child and not reaped, so its id cannot have been reused.
		if fd, err := unix.PidfdOpen(s.PID, 0); err == nil {
			p.pidfd = fd
		}
	}
	p.watchExit()
	return nil
}

// endedPipes are pipes of which nothing is left to read.
func (r *Runner) endedPipes(pid int) *pipes {
	return r.pipes.start(pid, r.poller, r.descriptors.null, stream{fd: -1}, stream{fd: -1})
}

// check proves that the descriptor is a pipe, and closes it on exec.
func (s PipeState) check() error {
	if s.FD < 0 {
		return nil
	}
	var stat unix.Stat_t
	err := unix.Fstat(s.FD, &stat)
	if err != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO || s.FD <= 2 {
		return fmt.Errorf("cannot restore a command: descriptor %d is no pipe (%v)", s.FD, err)
	}
	unix.CloseOnExec(s.FD)
	return nil
}

// RestoreProcess makes a Runner that is at rest go on with a command, or keep its result. What was
// given to Then is to be given again.
func (r *Runner) RestoreProcess(in *handover.Reader, s ProcessState) (*Process, error) {
	p, err := r.findShell(s)
	if err != nil {
		return nil, err
	}
	values, err := restoreSecrets(in, s.Secrets)
	if err != nil {
		return nil, err
	}
	for _, of := range []struct {
		output *Output
		state  StreamState
	}{{p.Stdout(), s.Stdout}, {p.Stderr(), s.Stderr}} {
		err := of.output.restore(in, of.state, r.pipes.buffers)
		if err == nil && of.state.Mask != nil {
			err = of.output.restoreMask(in, *of.state.Mask, values)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := p.restoreOrder(s); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.homeless, p.groupGone, p.reaped = s.Homeless, s.GroupGone, s.Reaped
	p.begun = fromMonotonic(s.Begun)
	p.result.restore(s)
	if s.Settled {
		close(p.done)
		return p, nil
	}
	p.settled = false
	p.pipes = r.pipes.start(p.pid, r.poller, r.descriptors.null,
		stream{s.Stdout.Pipe.FD, p.Stdout(), s.Stdout.Pipe.Wide},
		stream{s.Stderr.Pipe.FD, p.Stderr(), s.Stderr.Pipe.Wide})
	p.restoreTimers(s)
	return p, nil
}

// findShell returns the Process of a shell that Restore watches, or a new one of a shell that was
// reaped.
func (r *Runner) findShell(s ProcessState) (p *Process, err error) {
	if !s.Reaped {
		value, _ := r.shells.Load(s.PID)
		p, ok := value.(*Process)
		if !ok || !p.settled {
			return nil, fmt.Errorf("cannot restore the command with process id %d: "+
				"it is not among the shells", s.PID)
		}
		return p, nil
	}
	if !s.Settled {
		return nil, fmt.Errorf("cannot restore the command with process id %d: "+
			"it ended without a result", s.PID)
	}
	p = r.newProcess(s.PID)
	p.reason, p.exited, p.settled = s.Ended, true, true
	p.pipes = r.endedPipes(s.PID)
	p.cgroup, err = r.restoreCgroup(s.Cgroup)
	return p, err
}

func (o *Output) restore(in *handover.Reader, s StreamState, buffers *bufferPool) error {
	if err := s.Pipe.check(); err != nil {
		return err
	}
	kept, err := in.Bytes(s.Kept)
	if err != nil {
		return err
	}
	end, err := in.Bytes(s.End)
	if err != nil {
		return err
	}
	if !s.Sealed && len(end) > s.EndLimit || s.EndLimit < 0 ||
		s.Total < int64(len(kept)+len(end)) {
		return errors.New("cannot restore a command: its output has more bytes than its bounds")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit, o.buffers, o.total, o.kept = s.Limit, buffers, s.Total, int64(len(kept))
	if o.tail.limit = s.EndLimit; s.Sealed {
		o.tail.limit = len(end)
	}
	o.tail.write(end)
	o.sealed, o.released = s.Sealed, s.Released
	if len(kept) > 0 {
		o.chunks = [][]byte{kept}
	}
	return nil
}

func (o *Output) restoreMask(in *handover.Reader, s MaskState, values *secrets) error {
	m, err := restoreMasker(in, s, values)
	o.limit = s.Limit
	o.mask.Store(m)
	return err
}

// restoreOrder adds a mark for output of which there is none, of a release that does not know them.
func (p *Process) restoreOrder(s ProcessState) error {
	if err := p.order.decode(s.Order); err != nil {
		return err
	}
	for i, output := range []*Output{p.Stdout(), p.Stderr()} {
		output.order, output.stream = &p.order, i
		var known int64
		if n := len(p.order.marks); n > 0 {
			known = p.order.marks[n-1].ends[i]
		}
		if output.total > known {
			p.order.note(i, output.total-known, time.Now(), [2]int64{})
		}
	}
	return nil
}

func (r *Result) restore(s ProcessState) {
	r.ExitCode, r.Signal, r.Ended = s.ExitCode, s.Signal, s.Ended
	r.StillRunning, r.OutputIncomplete = s.StillRunning, s.OutputIncomplete
	r.Masked = s.Masked
	r.Started, r.Duration = time.Unix(0, s.Started), s.Duration
	r.UserTime, r.SystemTime, r.MaxRSS = s.UserTime, s.SystemTime, s.MaxRSS
	r.LimitsBy, r.OOMKilled, r.MemoryPeak = s.LimitsBy, s.OOMKilled, s.MemoryPeak
}

// restoreTimers needs mu. A timer whose time has passed acts at once, but for patience: during the
// reload no exit was noticed, so it begins again.
func (p *Process) restoreTimers(s ProcessState) {
	if s.TimeoutAt != 0 {
		p.timeout = p.runner.after(time.Until(fromMonotonic(s.TimeoutAt)), p.timeOut)
	}
	switch {
	case s.TimerAt == 0:
	case isClosed(p.graceOver):
		p.timer = p.runner.after(patience, p.loseHope)
	default:
		p.timer = p.runner.after(time.Until(fromMonotonic(s.TimerAt)), p.endGrace)
	}
}

func fromMonotonic(at int64) time.Time {
	return time.Now().Add(time.Duration(at - monotonicNow()))
}
