package exec

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
)

// This file passes commands on to the program that the daemon executes in its place. The process id
// stays, so that commands stay its children, and so do the descriptors of pipes and cgroups.
//
//	old program   Rest, HandOver of everything, Freeze, execve
//	new program   RestoreCgroups, Thaw, NewRestingRunner, UseCgroups or AdoptOrphans, Restore,
//	              RestoreProcess for each command, Resume
//
// A failure before the execve takes no more than Thaw and Resume. NewRestingRunner closes on exec
// what the execve left open. No process is started before it.
//
// All times are of CLOCK_MONOTONIC, in nanoseconds, which is the same for both programs; 0 is none.
// What each kept job has is written without zero fields: commands wait while it is read, twice.

// RunnerState is what a Runner knows besides its Processes.
type RunnerState struct {
	Shells []ShellState
	Pipes  []PipesState
}

// ShellState is a shell that was not reaped yet.
type ShellState struct {
	PID          int
	Cgroup       *CgroupState // nil: it has none
	Grace        time.Duration
	EndWithShell bool
	Reason       Reason
	Exited       bool
	GraceOver    bool
	Pinned       []PinnedState
	Signal       syscall.Signal `json:",omitzero"` // that ends it; 0: SIGTERM
	Killed       bool           `json:",omitzero"` // see Process.killed
}

// PinnedState identifies a process that has left the group of a command without a cgroup.
type PinnedState struct {
	PID, PIDFD int // PIDFD is -1 on kernels without pidfds
	Started    uint64
}

// PipesState are the pipes that background processes hold open after the result.
type PipesState struct {
	PID            int
	Stdout, Stderr PipeState
}

// PipeState is a pipe that the daemon reads.
type PipeState struct {
	FD   int  `json:",omitzero"` // -1: it is at its end
	Wide bool `json:",omitzero"` // it is enlarged
}

// ProcessState is a Process.
type ProcessState struct {
	PID       int          `json:",omitzero"`
	Homeless  bool         `json:",omitzero"`
	Reaped    bool         `json:",omitzero"`
	GroupGone bool         `json:",omitzero"`
	Settled   bool         `json:",omitzero"`
	Cgroup    *CgroupState `json:",omitzero"` // nil: it has none
	Started   int64        `json:",omitzero"` // wall time, in nanoseconds since 1970
	Begun     int64        `json:",omitzero"`
	TimeoutAt int64        `json:",omitzero"`
	TimerAt   int64        `json:",omitzero"` // the end of the grace period, then of patience

	ExitCode                       int            `json:",omitzero"`
	Signal                         syscall.Signal `json:",omitzero"`
	Ended                          Reason         `json:",omitzero"`
	StillRunning, OutputIncomplete bool           `json:",omitzero"`
	Duration, UserTime, SystemTime time.Duration  `json:",omitzero"`
	MaxRSS                         int64          `json:",omitzero"`
	LimitsBy                       LimitsBy       `json:",omitzero"`
	OOMKilled                      bool           `json:",omitzero"`
	MemoryPeak                     int64          `json:",omitzero"`

	Stdout, Stderr StreamState `json:",omitzero"`
	Order          []byte      `json:",omitzero"` // see DecodeMarks

	Masked  bool            `json:",omitzero"`
	Secrets []handover.Blob `json:",omitzero"` // while the output is masked
}

// StreamState is an Output, and the pipe that it comes from.
type StreamState struct {
	Pipe     PipeState     `json:",omitzero"`
	Limit    int64         `json:",omitzero"` // of the start
	Total    int64         `json:",omitzero"`
	Kept     handover.Blob `json:",omitzero"` // the start
	Sealed   bool          `json:",omitzero"`
	Released bool          `json:",omitzero"`
	// A release that does not know the end takes the output as cut after its start.
	EndLimit int           `json:",omitzero"`
	End      handover.Blob `json:",omitzero"`
	Mask     *MaskState    `json:",omitzero"` // nil: nothing is masked
}

// HandOver returns what the next program needs to go on. It is called at rest. Commands whose
// Process is not handed over as well are reaped when they end, without a result.
func (r *Runner) HandOver(w *handover.Writer) (s RunnerState) {
	r.shells.Range(func(_, value any) bool {
		if p, ok := value.(*Process); ok {
			s.Shells = append(s.Shells, p.shellState(w))
		}
		return true
	})
	for _, both := range r.pipes.list() {
		if both.stdout.attached() != nil || both.stderr.attached() != nil {
			continue // its Process hands it over
		}
		s.Pipes = append(s.Pipes, PipesState{
			PID: both.pid, Stdout: both.stdout.state(w), Stderr: both.stderr.state(w),
		})
	}
	return s
}

func (p *Process) shellState(w *handover.Writer) ShellState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ShellState{
		PID: p.pid, Cgroup: p.cgroup.state(), Grace: p.grace, EndWithShell: p.endWithShell,
		Reason: p.reason, Exited: p.exited, GraceOver: isClosed(p.graceOver),
		Pinned: p.descendants.pinned.state(w), Signal: p.signal, Killed: p.killed,
	}
}

func (s *pinned) state(w *handover.Writer) (all []PinnedState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.handles {
		if h.pidfd >= 0 {
			w.Keep(h.pidfd)
		}
		all = append(all, PinnedState{h.pid, h.pidfd, h.started})
	}
	return all
}

func (p *pipe) state(w *handover.Writer) PipeState {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.closed {
		return PipeState{FD: -1}
	}
	return PipeState{FD: w.Keep(p.fd), Wide: p.wide}
}

// HandOver returns what the next program needs to go on with a command, or to keep its result. It
// is called at rest.
func (p *Process) HandOver(w *handover.Writer) ProcessState {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.result
	s := ProcessState{
		PID: p.pid, Homeless: p.homeless, Reaped: p.reaped, GroupGone: p.groupGone,
		Settled: p.settled, Cgroup: p.cgroup.state(),
		Started: r.Started.UnixNano(), Begun: toMonotonic(p.begun),
		ExitCode: r.ExitCode, Signal: r.Signal, Ended: r.Ended,
		StillRunning: r.StillRunning, OutputIncomplete: r.OutputIncomplete,
		Duration: r.Duration, UserTime: r.UserTime, SystemTime: r.SystemTime, MaxRSS: r.MaxRSS,
		LimitsBy: r.LimitsBy, OOMKilled: r.OOMKilled, MemoryPeak: r.MemoryPeak,
		Stdout: r.Stdout.state(w), Stderr: r.Stderr.state(w), Order: p.Marks(),
		Masked: r.Masked, Secrets: p.handOverSecrets(w),
	}
	if !p.settled {
		s.TimeoutAt, s.TimerAt = toMonotonic(p.timeout.at), toMonotonic(p.timer.at)
		s.Stdout.Pipe, s.Stderr.Pipe = p.pipes.stdout.state(w), p.pipes.stderr.state(w)
	}
	return s
}

func (o *Output) state(w *handover.Writer) StreamState {
	o.mu.Lock()
	s := StreamState{
		Pipe: PipeState{FD: -1}, Limit: o.limit, Total: o.total, Sealed: o.sealed,
		Released: o.released,
	}
	if !o.sealed {
		s.EndLimit = o.tail.limit
	}
	start := part{output: o, start: o.kept}
	o.mu.Unlock()
	if s.Released {
		return s
	}
	s.Kept = w.Add(start)
	if o.tail.size() > 0 { // at rest it does not change
		s.End = w.Add(&o.tail)
	}
	if m := o.mask.Load(); m != nil {
		mask := m.state(w)
		mask.Limit, s.Limit, s.Mask = s.Limit, s.Kept.Size, &mask
	}
	return s
}

// handOverSecrets returns the values that a running command's output is masked for.
func (p *Process) handOverSecrets(w *handover.Writer) (blobs []handover.Blob) {
	for _, o := range []*Output{p.Stdout(), p.Stderr()} {
		if m := o.mask.Load(); m != nil {
			for _, value := range m.secrets.values {
				blobs = append(blobs, w.AddBytes(value))
			}
			break
		}
	}
	return blobs
}

// toMonotonic is 0 for the zero time. The time must have a monotonic part.
func toMonotonic(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return monotonicNow() - int64(time.Since(t))
}

func monotonicNow() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}
