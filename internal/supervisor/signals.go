package supervisor

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals are those that stop and reload the daemon.
type signals struct {
	stop   context.Context // ends with the first SIGTERM or SIGINT
	cancel context.CancelFunc

	terminations chan os.Signal
	terminated   chan os.Signal // holds the first one for good
	hangups      chan os.Signal
}

// newSignals catches SIGHUP. The others still end the process.
func newSignals() *signals {
	s := &signals{
		terminations: make(chan os.Signal, 1), terminated: make(chan os.Signal, 1),
		hangups: make(chan os.Signal, 1),
	}
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.catchHangups()
	return s
}

func (s *signals) catchHangups() { signal.Notify(s.hangups, syscall.SIGHUP) }

// catchTerminations makes the first SIGTERM or SIGINT end stop, and the second the process.
func (s *signals) catchTerminations() {
	for _, c := range []chan os.Signal{s.terminations, s.terminated} {
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	}
	go func() {
		<-s.terminations
		s.cancel()
		second := (<-s.terminations).(syscall.Signal)
		signal.Reset(second)
		_ = syscall.Kill(os.Getpid(), second)
	}()
}

// release gives SIGTERM and SIGINT their default action.
func (s *signals) release() {
	signal.Stop(s.terminations)
	signal.Stop(s.terminated)
}

// stopping says that SIGTERM or SIGINT has arrived.
func (s *signals) stopping() bool { return len(s.terminated) > 0 }
