package check

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/units"
)

// answerTime bounds a call that this host makes to itself.
const answerTime = 10 * time.Second

// maxCheckAnswer bounds the answer to `id -un`, in bytes: another program may hold the port.
const maxCheckAnswer = 1 << 20

// checkAnswers calls GET / at every address of BIND that this host has.
func checkAnswers(c *checker) (found []Finding) {
	for _, address := range c.settings.Bind {
		ip := address.AddrPort.Addr()
		if address.Network == "tcp" && !ip.IsLoopback() && !ip.IsUnspecified() &&
			!host.Assigned(ip) {
			continue // checkAddresses reports it
		}
		if !c.permitsItself(address) {
			continue // checkCallers reports it
		}
		found = append(found, c.checkAnswer(address))
	}
	return found
}

func (c *checker) checkAnswer(address config.Address) Finding {
	target, err := client.TargetOf(c.settings, address)
	if err != nil {
		return failure("BIND address %s: %v", address, err)
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	welcome, err := client.New(target, client.Key{}).Welcome(ctx)
	switch {
	case err == nil && welcome == c.Welcome:
		return ok("a Sidecar of version %s answers at %s", c.Version, address)
	case err == nil:
		return c.follow(warning("another version than %s answers at %s: the service was not "+
			"reloaded after an upgrade", c.Version, address))
	case errors.Is(err, client.ErrOtherCertificate):
		return c.follow(warning("the service at %s shows another TLS certificate than %s: the "+
			"file was renewed after the service has started", address, c.settings.TLSCertificate))
	case errors.Is(err, client.ErrNoTLS):
		return c.follow(failure("the service at %s speaks no TLS: it has started before "+
			"TLS_CERTIFICATE was written", address))
	case errors.Is(err, context.DeadlineExceeded) && client.MayHaveArrived(err):
		text := "connections to BIND address %s are accepted, but none is answered within %s"
		if c.UnitDir != "" {
			text += "; " + seeJournal
		}
		return c.restart(failure(text, address, answerTime))
	case errors.Is(err, client.ErrStranger), client.Connected(err),
		errors.Is(err, syscall.ECONNRESET): // during the handshake of TLS
		return failure("something else than a Sidecar answers at %s (%v): find it with ss -ltnp "+
			"and stop it, or write another address to BIND", address, err)
	}
	return failure("nothing answers at BIND address %s: %v", address, err).fix(c.start())
}

// start is the command that starts the daemon on the addresses of BIND.
func (c *checker) start() string {
	switch {
	case c.apply() == config.Apply:
		return config.Apply
	case c.UnitDir != "":
		return units.Restart
	}
	command := "dataflux-func-sidecar serve --config " + config.ShellQuote(c.Config) +
		" --state-dir " + config.ShellQuote(c.StateDir) +
		" --bind " + config.ShellQuote(config.JoinBind(c.settings.Bind))
	if os.Geteuid() == 0 {
		command += " --user " + config.ShellQuote(c.User)
	}
	return command
}

// follow returns the finding with the command that makes the daemon read configuration, certificate
// and program again.
func (c *checker) follow(f Finding) Finding {
	if c.apply() == config.Apply {
		return f.fix(config.Apply)
	}
	return c.restart(f)
}

// restart returns the finding with the command that restarts the daemon, or without units with the
// advice in words.
func (c *checker) restart(f Finding) Finding {
	if c.UnitDir != "" {
		return f.fix(units.Restart)
	}
	f.Message += ": restart the daemon"
	return f
}

// checkCall lets the service run one command, which tests key, clock, user, directory and shell
// together. With keys that may run actions only, it asks for the list of these.
func checkCall(c *checker) []Finding {
	callable := slices.DeleteFunc(slices.Clone(c.settings.Bind),
		func(a config.Address) bool { return !c.permitsItself(a) })
	if len(callable) == 0 {
		return nil // checkCallers reports it
	}
	address := client.UsableAddress(callable)
	target, err := client.TargetOf(c.settings, address)
	if err != nil {
		return nil // checkAnswers reports it
	}
	key, secret := c.callKey(address)
	if secret == nil {
		why := "no key may be used from this host now, because of FROM or EXPIRES"
		if len(c.settings.Secrets()) == 0 {
			why = "there is no secret here, only PUBLIC_KEYS"
		}
		return []Finding{ok("no signed call was made: %s", why)}
	}
	ctx, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	caller := client.New(target, client.Key{Secret: secret}).Limit(maxCheckAnswer)
	if !key.AnyCommand {
		if _, err := caller.Actions(ctx); err != nil {
			return c.failedCall(err)
		}
		return []Finding{ok("a signed call with the key %s was answered; no command was run, as "+
			"no key may run any", key.Name)}
	}
	return c.runCommand(ctx, caller)
}

// callKey returns a key that this host can use at an address of BIND, with its secret: one that may
// run any command, if there is one. The secret is nil if there is no key.
func (c *checker) callKey(address config.Address) (key policy.Key, secret config.Key) {
	if len(c.settings.Keys) > 0 {
		return policy.Default(), c.settings.Keys[0]
	}
	isUnix := address.Network == "unix"
	for _, k := range c.settings.NamedKeys {
		// The private key of PUBLIC_KEYS is not on this host.
		usable := len(k.Secrets) > 0 &&
			k.CheckUse(time.Now(), ownAddress(address), isUnix) == nil
		if usable && (secret == nil || k.AnyCommand && !key.AnyCommand) {
			key, secret = k.Key, k.Secrets[0]
		}
	}
	return key, secret
}

func (c *checker) runCommand(ctx context.Context, caller *client.Client) []Finding {
	var stdout, stderr bytes.Buffer
	command := client.Command{
		Command: "id -un", Timeout: answerTime.Seconds() / 2,
		JobID: "check-" + client.NewJobID(), Keep: new(false),
	}
	job, err := caller.Run(ctx, command, &stdout, &stderr)
	if refused, ok := errors.AsType[*client.Refusal](err); ok &&
		refused.Status == client.BadRequest {
		command.Keep = nil // a daemon of another version, which checkAnswers reports
		job, err = caller.Run(ctx, command, &stdout, &stderr)
	}
	if err != nil {
		return c.failedCall(err)
	}
	called := c.callFinding(job, strings.TrimSpace(stdout.String()),
		strings.TrimSpace(stderr.String()))
	return append([]Finding{called}, c.heldFinding(job)...)
}

// failedCall returns no finding for an error that checkAnswers reports.
func (c *checker) failedCall(err error) []Finding {
	refused, isRefused := errors.AsType[*client.Refusal](err)
	switch {
	case isRefused && refused.Status == client.Unauthorized:
		return []Finding{c.follow(failure("the service does not accept the key of %s: it has "+
			"started with another one", c.Config))}
	case isRefused && refused.Status == client.Busy:
		return []Finding{warning("the service was busy: a signed call was %s", client.Explain(err,
			c.Config))}
	case isRefused:
		return []Finding{failure("a signed call was %s", client.Explain(err, c.Config))}
	}
	return nil
}

func (c *checker) callFinding(job client.Job, stdout, stderr string) Finding {
	switch {
	case job.Failure != "":
		return failure("`id -un` was not started: %s", escape.Line(job.Failure, 200))
	case job.ExitCode == nil || *job.ExitCode != 0:
		return failure("`id -un` ended with %s: %s", job.Ending(), escape.Line(stderr, 200))
	case stdout != c.User:
		return failure("commands run as %s, not as %s: give check the same --user as serve has",
			escape.Line(stdout, 100), c.User)
	}
	return ok("a signed call ran a command as user %s in %s", c.User,
		time.Duration(job.DurationMS)*time.Millisecond)
}
