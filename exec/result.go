package exec

import (
	"syscall"
	"time"
)

// Reason is why a command ended.
type Reason int

const (
	// Exited: by itself, whatever its exit code or signal.
	Exited Reason = iota
	// TimedOut: it took longer than its timeout.
	TimedOut
	// Cancelled: somebody asked for its end.
	Cancelled
	// Stopped: the daemon stops.
	Stopped
)

func (r Reason) String() string {
	switch r {
	case Exited:
		return "exited"
	case TimedOut:
		return "timed out"
	case Cancelled:
		return "cancelled"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// Result is how a command went.
type Result struct {
	ExitCode int            // -1 if it did not exit by itself or cannot be known
	Signal   syscall.Signal // 0 if it exited
	Ended    Reason

	// StillRunning: SIGKILL did not end the shell in time, because it has become
	// another user's process (as with sudo) or hangs in the kernel.
	StillRunning bool

	Stdout, Stderr Output

	Started  time.Time
	Duration time.Duration

	UserTime, SystemTime time.Duration

	// MaxRSS is the largest resident size in bytes of the shell or a child it
	// waited for. It is 0 where the kernel cannot tell: a child starts with the
	// daemon's own peak, so smaller values than that are not known.
	MaxRSS int64
}

// status puts down how the shell ended.
func (r *Result) status(status syscall.WaitStatus, usage *syscall.Rusage) {
	r.ExitCode = status.ExitStatus()
	if status.Signaled() {
		r.Signal = status.Signal()
	}
	r.UserTime = time.Duration(usage.Utime.Nano())
	r.SystemTime = time.Duration(usage.Stime.Nano())
	if peak := usage.Maxrss * 1024; peak > ownPeak() {
		r.MaxRSS = peak
	}
}

// ownPeak is the daemon's largest resident size in bytes, with room for the
// kernel's imprecise counting.
func ownPeak() int64 {
	const imprecision = 1 << 20
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	return own.Maxrss*1024 + imprecision
}
