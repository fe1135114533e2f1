package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/client"
	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
)

// answerTime bounds a call that this host makes to itself.
const answerTime = 10 * time.Second

const restart = "systemctl restart dataflux-func-sidecar"

// checkAnswers asks for the welcome at every address that this host can reach itself under.
func checkAnswers(p *patient) (found []finding) {
	for _, address := range p.settings.Bind {
		ip := address.AddrPort.Addr()
		if address.Network == "tcp" && !ip.IsLoopback() && !ip.IsUnspecified() && !host.Assigned(ip) {
			continue // checkAddresses has said so
		}
		found = append(found, p.checkAnswer(address))
	}
	return found
}

func (p *patient) checkAnswer(address config.Address) finding {
	target, err := targetOf(p.settings, address)
	if err != nil {
		return failed("BIND address %s: %v", address, err)
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	welcome, err := client.New(target, nil).Welcome(ctx)
	switch {
	case err == nil && welcome == banner():
		return well("a Sidecar of version %s answers at %s", version, address)
	case err == nil:
		return unwise("another version than %s answers at %s: the service was not restarted after an upgrade", version, address).mendedBy(restart)
	case errors.Is(err, client.ErrOtherCertificate):
		return unwise("what answers at %s shows another TLS certificate than %s: that was renewed after the service has started", address, p.settings.TLSCertificate).mendedBy(restart)
	case errors.Is(err, http.ErrSchemeMismatch):
		return failed("the service at %s speaks no TLS: it has started before TLS_CERTIFICATE was written", address).mendedBy(restart)
	case errors.Is(err, context.DeadlineExceeded) && mayHaveArrived(err):
		return failed("connections to BIND address %s are taken, but none is answered within %s; %s", address, answerTime, why).mendedBy(restart)
	case errors.Is(err, client.ErrStranger), mayHaveArrived(err), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failed("something else than a Sidecar answers at %s (%v): see with ss -ltnp who it is, and stop it, or write another address to BIND", address, err)
	}
	return failed("nothing answers at BIND address %s: %v", address, err).mendedBy(config.ApplyBind)
}

// checkCall has a command run, so that key, clock, user, directory and shell have all proved themselves.
func checkCall(p *patient) []finding {
	target, err := targetOf(p.settings, usableAddress(p.settings.Bind))
	if err != nil {
		return nil // checkAnswers has said so
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	var stdout, stderr bytes.Buffer
	command := client.Command{Command: "id -un", Timeout: answerTime.Seconds() / 2, JobID: "check-" + client.NewJobID()}
	job, err := client.New(target, p.settings.Keys[0]).Run(ctx, command, &stdout, &stderr)
	if err != nil {
		return failedCall(err, p.config)
	}
	return []finding{p.judge(job, strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String()))}
}

// failedCall says nothing where checkAnswers has said it.
func failedCall(err error, configuration string) []finding {
	refused, ok := errors.AsType[*client.Refusal](err)
	switch {
	case ok && refused.Status == http.StatusUnauthorized:
		return []finding{failed("the service does not take the key of %s: it has started with another one", configuration).mendedBy(restart)}
	case ok && refused.Status == http.StatusServiceUnavailable:
		return []finding{unwise("the service was busy: a signed call was %s", explain(err, configuration))}
	case ok:
		return []finding{failed("a signed call was %s", explain(err, configuration))}
	}
	return nil
}

func (p *patient) judge(job client.Job, stdout, stderr string) finding {
	switch {
	case job.ExitCode == nil || *job.ExitCode != 0:
		return failed("`id -un` ended with %s: %s", ending(job), oneLine(stderr, 200))
	case stdout != p.user:
		return failed("commands run as %s, not as %s: look at --user in the unit, and give it to check as well", oneLine(stdout, 100), p.user)
	}
	return well("a signed call ran a command as user %s in %s", p.user, milliseconds(job.DurationMS))
}
