package executor

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// loggedCommand is how many bytes of a command the journal shows.
const loggedCommand = 2 << 10

// serve carries out one request, from the signature to the answer and the callback.
func (e *Executor) serve(call message.Call, st *stream) {
	err := e.verify(call, st)
	<-e.verifying
	if err != nil {
		e.turnAway(call, st, err)
		return
	}
	if why := e.route(call, st); why != nil {
		e.turnAway(call, st, why)
	}
}

// verify is the gate: only what passes it is looked at any further.
func (e *Executor) verify(call message.Call, _ *stream) *refusal {
	err := e.verifier.Verify(sign.Request{
		Method: call.Method, Path: call.Path, Nonce: call.Nonce, Timestamp: call.Timestamp, Body: call.Body,
	}, call.Signature)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sign.ErrFull):
		return refuseForNow("%v", err)
	}
	return refuse(statusUnauthorized, "%v", err)
}

func (e *Executor) turnAway(call message.Call, st *stream, why *refusal) {
	_ = sendRefusal(st, why)
	text := fmt.Sprintf("Refused a request from %s with HTTP %d: %s", address(call.Remote), why.status, journal.Quote(why.message, 500))
	e.log.Write(journal.RequestRefused(), text, journal.Fields{journal.Remote: address(call.Remote), journal.Status: fmt.Sprint(why.status)})
}

func (e *Executor) route(call message.Call, st *stream) *refusal {
	if call.Path != "/shell" {
		return refuse(statusNotFound, "there is nothing at this path: commands go to POST /shell")
	}
	if call.Method != "POST" {
		return &refusal{status: statusMethodNotAllowed, message: "/shell takes POST only", allow: "POST"}
	}
	request, err := decodeShell(call.Body)
	if err != nil {
		return refuse(statusBadRequest, "%v", err)
	}
	return e.shell(call, request, st)
}

// job is one command that was accepted.
type job struct {
	id      string
	remote  string
	request shellRequest
	process *exec.Process
}

// shell runs the command. Once it has started, nothing that happens to the caller matters to it.
func (e *Executor) shell(call message.Call, request shellRequest, st *stream) *refusal {
	command, err := e.command(request)
	if err != nil {
		return refusalFor(err)
	}
	if !e.jobs.takePlace() {
		return refuseForNow("%d commands are running, and MAX_RUNNING allows no more: try again later", e.commands.MaxRunning)
	}
	if request.callbackURL != nil && !e.courier.reserve() {
		e.jobs.leavePlace()
		return refuseForNow("too many callbacks are waiting for their receivers (MAX_CALLBACKS): try again later, or without callbackURL")
	}
	process, err := e.runner.Start(command)
	if err != nil {
		e.jobs.leavePlace()
		if request.callbackURL != nil {
			e.courier.release()
		}
		return refusalFor(err)
	}
	e.see(&job{id: newJobID(), remote: address(call.Remote), request: request, process: process}, st)
	return nil
}

// command turns a request into what exec runs, with the configured defaults.
func (e *Executor) command(r shellRequest) (exec.Command, error) {
	env, err := exec.Environment(e.commands.Login, r.envs)
	if err != nil {
		return exec.Command{}, err
	}
	c := exec.Command{
		Shell: e.commands.Shell, Text: r.command, Dir: e.commands.Workdir, Env: env,
		MaxOutput: e.commands.MaxOutput, Timeout: e.commands.Timeout, Grace: e.commands.Grace,
	}
	if r.workdir != "" {
		c.Dir = r.workdir
	}
	if r.timeout > 0 {
		c.Timeout = r.timeout
	}
	return c, c.Validate()
}

// refusalFor tells the requester's faults from the host's.
func refusalFor(err error) *refusal {
	switch exec.FaultOf(err) {
	case exec.FaultRequest:
		return refuse(statusBadRequest, "%v", err)
	case exec.FaultConfiguration:
		return refuse(statusInternalServerError, "%v", err)
	}
	return refuseForNow("the host cannot start another command now: %v", err)
}

// see follows a started command to its end: answer, journal, callback.
func (e *Executor) see(j *job, st *stream) {
	e.jobs.add(j.id, j.process)
	if !j.request.wait {
		_ = sendAccepted(st, j.id)
	}
	e.logStart(j)
	<-j.process.Done()
	e.jobs.remove(j.id) // its place is free from now on, however slowly the answer is read
	result := j.process.Result()
	if j.request.wait {
		_ = sendResult(st, j.id, result) // a caller who has hung up meanwhile changes nothing
	}
	e.logEnd(j, result)
	e.jobs.close()
	if j.request.callbackURL != nil {
		e.courier.deliver(&delivery{id: j.id, url: j.request.callbackURL, result: result})
		return
	}
	result.Stdout.Release()
	result.Stderr.Release()
}

func (e *Executor) logStart(j *job) {
	fields := j.fields()
	fields[journal.CommandPID] = fmt.Sprint(j.process.PID())
	text := "Command started for " + j.remote
	if e.commands.LogText {
		text += ": " + journal.Quote(j.request.command, loggedCommand)
		fields[journal.Command] = journal.Cut(j.request.command, loggedCommand)
	}
	e.log.Write(journal.CommandStarted(), text, fields)
}

func (e *Executor) logEnd(j *job, r *exec.Result) {
	fields := j.fields()
	fields[journal.DurationMS] = fmt.Sprint(r.Duration.Milliseconds())
	event, how := journal.CommandFinished(), fmt.Sprintf("exit status %d", r.ExitCode)
	fields[journal.ExitCode] = fmt.Sprint(r.ExitCode)
	if r.Signal != 0 {
		delete(fields, journal.ExitCode)
		how, fields[journal.Signal] = unix.SignalName(r.Signal), unix.SignalName(r.Signal)
	}
	if r.Ended != exec.Exited {
		event, fields[journal.Ended] = journal.CommandEnded(), r.Ended.String()
		how += ", ended by the daemon: " + r.Ended.String()
	}
	text := fmt.Sprintf("Command finished after %s: %s", r.Duration.Round(time.Millisecond), how)
	if also := notice(r); also != "" {
		text += "; " + also
	}
	e.log.Write(event, text, fields)
}

func (j *job) fields() journal.Fields {
	return journal.Fields{journal.JobID: j.id, journal.Remote: j.remote}
}

// address is what the network role says of a caller, made fit for the journal: that role may lie.
func address(remote string) string {
	if remote == "unix socket" {
		return remote
	}
	if _, err := netip.ParseAddrPort(remote); err == nil {
		return remote
	}
	return "an unknown address"
}
