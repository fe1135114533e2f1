package doctor

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/client"
	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
	"dataflux-func-sidecar/units"
)

// answerTime bounds a call that this host makes to itself.
const answerTime = 10 * time.Second

// checkAnswers asks for the welcome at every address that this host can reach itself under.
func checkAnswers(p *patient) (found []Finding) {
	for _, address := range p.settings.Bind {
		ip := address.AddrPort.Addr()
		if address.Network == "tcp" && !ip.IsLoopback() && !ip.IsUnspecified() && !host.Assigned(ip) {
			continue // checkAddresses has said so
		}
		found = append(found, p.checkAnswer(address))
	}
	return found
}

func (p *patient) checkAnswer(address config.Address) Finding {
	target, err := client.TargetOf(p.settings, address)
	if err != nil {
		return failed("BIND address %s: %v", address, err)
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	welcome, err := client.New(target, nil).Welcome(ctx)
	switch {
	case err == nil && welcome == p.Welcome:
		return well("a Sidecar of version %s answers at %s", p.Version, address)
	case err == nil:
		return unwise("another version than %s answers at %s: the service was not restarted after an upgrade", p.Version, address).mendedBy(units.Restart)
	case errors.Is(err, client.ErrOtherCertificate):
		return unwise("what answers at %s shows another TLS certificate than %s: that was renewed after the service has started", address, p.settings.TLSCertificate).mendedBy(units.Restart)
	case errors.Is(err, client.ErrNoTLS):
		return failed("the service at %s speaks no TLS: it has started before TLS_CERTIFICATE was written", address).mendedBy(units.Restart)
	case errors.Is(err, context.DeadlineExceeded) && client.MayHaveArrived(err):
		return failed("connections to BIND address %s are taken, but none is answered within %s; %s", address, answerTime, why).mendedBy(units.Restart)
	case errors.Is(err, client.ErrStranger), client.MayHaveArrived(err), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failed("something else than a Sidecar answers at %s (%v): see with ss -ltnp who it is, and stop it, or write another address to BIND", address, err)
	}
	return failed("nothing answers at BIND address %s: %v", address, err).mendedBy(config.ApplyBind)
}

// checkCall has a command run, so that key, clock, user, directory and shell have all proved themselves.
func checkCall(p *patient) []Finding {
	target, err := client.TargetOf(p.settings, client.UsableAddress(p.settings.Bind))
	if err != nil {
		return nil // checkAnswers has said so
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	var stdout, stderr bytes.Buffer
	command := client.Command{Command: "id -un", Timeout: answerTime.Seconds() / 2, JobID: "check-" + client.NewJobID()}
	job, err := client.New(target, p.settings.Keys[0]).Run(ctx, command, &stdout, &stderr)
	if err != nil {
		return failedCall(err, p.Config)
	}
	return []Finding{p.judge(job, strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String()))}
}

// failedCall says nothing where checkAnswers has said it.
func failedCall(err error, configuration string) []Finding {
	refused, ok := errors.AsType[*client.Refusal](err)
	switch {
	case ok && refused.Status == client.Unauthorized:
		return []Finding{failed("the service does not take the key of %s: it has started with another one", configuration).mendedBy(units.Restart)}
	case ok && refused.Status == client.Busy:
		return []Finding{unwise("the service was busy: a signed call was %s", client.Explain(err, configuration))}
	case ok:
		return []Finding{failed("a signed call was %s", client.Explain(err, configuration))}
	}
	return nil
}

func (p *patient) judge(job client.Job, stdout, stderr string) Finding {
	switch {
	case job.ExitCode == nil || *job.ExitCode != 0:
		return failed("`id -un` ended with %s: %s", job.Ending(), client.OneLine(stderr, 200))
	case stdout != p.User:
		return failed("commands run as %s, not as %s: look at --user in the unit, and give it to check as well", client.OneLine(stdout, 100), p.User)
	}
	return well("a signed call ran a command as user %s in %s", p.User, time.Duration(job.DurationMS)*time.Millisecond)
}
