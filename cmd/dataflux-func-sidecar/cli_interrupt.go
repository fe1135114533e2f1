package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/client"
	"dataflux-func-sidecar/config"
)

// cancelTime bounds the request that ends a command after Ctrl-C.
const cancelTime = 10 * time.Second

// untilInterrupted calls, and stops waiting at the first signal that asks this program to end, which it
// returns. With --cancel-on-interrupt the first one ends the command, whose result is then waited for.
func (s *shellCall) untilInterrupted() (job client.Job, by syscall.Signal, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan outcome, 1)
	go func() {
		job, err := s.call(ctx)
		done <- outcome{job, err}
	}()
	for cancelled := false; ; cancelled = true {
		select {
		case end := <-done:
			return end.job, 0, end.err
		case got := <-signals:
			if s.cancelOnInterrupt && !cancelled {
				s.say("ending the command; a second Ctrl-C stops waiting for that")
				go s.cancel(ctx) // which may take its time, and the second one is heard at once
				continue
			}
			stop()
			s.sayWhatGoesOn((<-done).err)
			return client.Job{}, got.(syscall.Signal), nil
		}
	}
}

type outcome struct {
	job client.Job
	err error
}

func (s *shellCall) cancel(ctx context.Context) {
	bounded, stop := context.WithTimeout(ctx, cancelTime)
	defer stop()
	if _, err := s.client.Cancel(bounded, s.command.JobID); err != nil && ctx.Err() == nil {
		s.say("cannot end the command: %v", err)
	}
}

func (s *shellCall) sayWhatGoesOn(err error) {
	if err != nil && !client.MayHaveArrived(err) {
		s.say("interrupted before the command was sent")
		return
	}
	s.say("no longer waiting; the command goes on as job %s", s.command.JobID)
	s.sayHowToGoOn()
}

func (s *shellCall) sayHowToGoOn() {
	s.say("to end it:    %s", s.again(s.command.JobID, "cancel"))
	s.say("to follow it: %s", s.again(s.command.JobID, "jobs", "--follow"))
}

// again is a call of this program for a job of the same Sidecar, to be pasted.
func (o *targetOptions) again(id string, command ...string) string {
	line := append([]string{"dataflux-func-sidecar"}, command...)
	for _, option := range []struct{ name, value string }{
		{"--url", o.url}, {"--secret-key-file", o.keyFile}, {"--ca", o.ca},
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
