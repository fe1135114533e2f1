package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
)

const (
	// maxCancelTime bounds the request that ends a command after Ctrl-C.
	maxCancelTime = 10 * time.Second
	// maxLookTime bounds the question whether a command was accepted.
	maxLookTime = 5 * time.Second
)

// callUntilInterrupted calls, and stops waiting at the first SIGINT, SIGTERM or SIGHUP, which it
// returns. With --cancel-on-interrupt the first one ends the command, and the second one stops
// waiting.
func (s *commandCall) callUntilInterrupted() (job client.Job, interrupt syscall.Signal, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan struct{})
	go func() {
		defer close(done)
		job, err = s.call(ctx)
	}()
	for cancelled := false; ; cancelled = true {
		select {
		case <-done:
			return job, 0, err
		case got := <-signals:
			if s.cancelOnInterrupt && !cancelled {
				s.note("ending the command; a second Ctrl-C stops waiting for that")
				go s.cancel(ctx) // in the background, so that a second signal is received at once
				continue
			}
			stop()
			<-done
			s.sayGoesOn(err, signals)
			return client.Job{}, got.(syscall.Signal), nil
		}
	}
}

func (s *commandCall) cancel(ctx context.Context) {
	bounded, stop := context.WithTimeout(ctx, maxCancelTime)
	defer stop()
	if _, err := s.client.Cancel(bounded, s.command.JobID); err != nil && ctx.Err() == nil {
		s.fail("cannot end the command: %v", err)
	}
}

// sayNoAnswer warns about a service that does not answer. One that has the job answers only at the
// end of the command, so it is asked.
func (s *commandCall) sayNoAnswer() {
	err := s.lookForJob(context.Background())
	var unreachable *client.Unreachable
	if !s.accepted.Load() && errors.As(err, &unreachable) {
		s.warn("%s", s.client.WaitHint())
	}
}

// lookForJob asks whether the Sidecar has the job, for up to maxLookTime.
func (s *commandCall) lookForJob(ctx context.Context) error {
	bounded, stop := context.WithTimeout(ctx, maxLookTime)
	defer stop()
	known, err := s.client.Knows(bounded, s.command.JobID)
	if known {
		s.accepted.Store(true)
	}
	return err
}

// sayGoesOn reports what an interrupt leaves running. Err is why the call ended. One more signal
// ends the question that this needs.
func (s *commandCall) sayGoesOn(err error, signals <-chan os.Signal) {
	if err != nil && !client.MayHaveArrived(err) {
		s.note("interrupted before the command was sent")
		return
	}
	if !s.accepted.Load() {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go func() {
			select {
			case <-signals:
				stop()
			case <-ctx.Done():
			}
		}()
		_ = s.lookForJob(ctx) // an error leaves it unknown
	}
	if !s.accepted.Load() {
		s.note("no longer waiting")
		s.sayNotKnown()
		return
	}
	s.warn("no longer waiting; the command goes on as job %s", s.command.JobID)
	s.sayHowToGoOn()
}

// sayMayRun reports that the command may run after a failed call: its output was lost while it
// runs, or the answer is missing although the request may have arrived.
func (s *commandCall) sayMayRun(err error) {
	switch {
	case s.stdout.err != nil && (s.follow || s.noWait):
		s.warn("the command may go on, as job %s", s.command.JobID)
		s.sayHowToGoOn()
	case s.accepted.Load() && client.MayHaveArrived(err):
		s.warn("the command was accepted as job %s, and its result is not known", s.command.JobID)
		s.sayHowToFindOut()
	case client.MayHaveArrived(err):
		s.sayNotKnown()
	}
}

func (s *commandCall) sayNotKnown() {
	s.warn("not known whether the command was accepted, as job %s", s.command.JobID)
	s.sayHowToFindOut()
}

func (s *commandCall) sayHowToFindOut() {
	s.hint("to find out: %s", s.commandLine(s.command.JobID, "jobs"))
}

func (s *commandCall) sayHowToGoOn() {
	s.hint("to end it:    %s", s.commandLine(s.command.JobID, "cancel"))
	s.hint("to follow it: %s", s.commandLine(s.command.JobID, "logs", "--follow"))
}

// commandLine is a call of this program about a job of the same Sidecar, quoted for a shell.
func (o *targetOptions) commandLine(id string, command ...string) string {
	line := append([]string{"dataflux-func-sidecar"}, command...)
	for _, option := range []struct{ name, value string }{
		{"--url", o.url}, {"--key", o.keyName}, {"--secret-key-file", o.keyFile}, {"--ca", o.ca},
	} {
		if option.value != "" {
			line = append(line, option.name, option.value)
		}
	}
	if o.configGiven {
		line = append(line, "--config", o.config)
	}
	if strings.HasPrefix(id, "-") {
		line = append(line, "--")
	}
	line = append(line, id)
	for i := range line {
		line[i] = config.ShellQuote(line[i])
	}
	return strings.Join(line, " ")
}
