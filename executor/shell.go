package executor

import (
	"errors"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// shell answers POST /shell. Once a command is admitted, nothing that happens to the caller matters to it.
func (e *Executor) shell(call message.Call, _ string, st *stream) *refusal {
	request, err := decodeShell(call.Body)
	if err != nil {
		return refuse(statusBadRequest, "%v", err)
	}
	command, err := e.command(request)
	if err != nil {
		return refuse(statusBadRequest, "%v", err)
	}
	id := request.jobID
	if id == "" {
		id = newJobID()
	}
	j := newJob(id, address(call.Remote), request)
	first := e.jobs.admit(j)
	switch first {
	case nil:
		return refuseForNow("no more than %d commands may run (MAX_RUNNING) and %d wait (MAX_QUEUED) at the same time: try again later",
			e.jobs.bounds.MaxRunning, e.jobs.bounds.MaxQueued)
	case j:
		return e.carry(j, command, call.Timestamp, st)
	}
	return e.join(first, request.wait, st)
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
		EndWithShell: e.commands.EndBackground,
	}
	if c.Limits, err = r.limits.within(e.commands.Limits); err != nil {
		return exec.Command{}, err
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

// join answers a request whose job id was used before with that job, and runs nothing. If that job is
// refused, so is this request: otherwise its caller would wait for what never comes.
func (e *Executor) join(first *job, wait bool, st *stream) *refusal {
	kept := first.use()
	if kept {
		defer first.leave()
	}
	await(first.decided, st)
	if why := first.refusal(); why != nil {
		return why
	}
	if !kept {
		return refuse(statusConflict, "the job %q has ended, and its result is no longer kept: use a fresh jobId", first.id)
	}
	if wait {
		await(first.over, st)
	}
	if !wait || !isClosed(first.over) {
		_ = sendAccepted(st, first)
		return nil
	}
	return answer(first, st)
}

// await also returns when nobody waits for the answer any more: repetitions of a long job would pile up.
func await(done <-chan struct{}, st *stream) {
	select {
	case <-done:
	case <-st.left:
	}
}

// carry takes an admitted job to its start: claim its id, promise its callback, wait for its place. From
// there on follow does the rest.
func (e *Executor) carry(j *job, command exec.Command, timestamp string, st *stream) *refusal {
	if why := e.promise(j, timestamp); why != nil {
		j.finish(why)
		e.jobs.withdraw(j)
		e.close(j)
		return why
	}
	accepted := !isClosed(j.granted) // whatever comes, a job that had to wait was accepted
	if accepted {
		j.accept()
	}
	told := accepted && !j.wait
	if told {
		_ = sendAccepted(st, j)
	}
	<-j.granted
	if why := e.start(j, command); why != nil {
		e.jobs.leavePlace()
		e.fail(j, why, accepted)
		e.close(j)
		if told {
			return nil
		}
		return why
	}
	if !j.wait && !told {
		_ = sendAccepted(st, j)
	}
	e.logStart(j, command.Text)
	j.process.Then(func() { e.follow(j, st) })
	return nil
}

// follow sees to what comes after a command's end: the result on disk if it is owed to a callback, the
// answer, the journal.
func (e *Executor) follow(j *job, st *stream) {
	defer e.close(j)
	e.jobs.leavePlace() // its place is free from now on, however slowly the answer is read
	e.tally.ended(j.process.Result())
	if j.callbackURL != nil {
		e.courier.dispatch(j, ran{j.process.Result()})
	}
	j.finish(nil)
	e.jobs.keep(j)
	if j.wait {
		_ = sendResult(st, j.id, j.process.Result()) // a caller who has hung up meanwhile changes nothing
	}
	e.logEnd(j)
}

// close ends the care for a job: it is answered and in the journal.
func (e *Executor) close(j *job) {
	e.jobs.close()
	j.leave()
}

// fail ends a job that was never started. If it had been accepted, its callback and the journal tell.
func (e *Executor) fail(j *job, why *refusal, accepted bool) {
	e.tally.commands.Add(commandNotStarted, 1)
	switch {
	case j.callbackURL == nil:
	case accepted:
		e.courier.dispatch(j, notStarted(why))
	default:
		e.courier.withdraw(j)
	}
	j.finish(why)
	e.jobs.keep(j)
	if accepted {
		e.logFailure(j, why)
	}
}

// promise sees to a callback's delivery, and claims a job id that the caller chose, so that it never
// runs twice. The id comes last: what is refused before may be tried again under it.
func (e *Executor) promise(j *job, timestamp string) *refusal {
	if j.callbackURL != nil {
		if why := e.courier.promise(j); why != nil {
			return why
		}
	}
	if !j.chosen || j.claimed {
		return nil
	}
	err := e.verifier.Claim(claimOf(j.id), timestamp)
	if err == nil {
		j.claimed = true
		return nil
	}
	if j.callbackURL != nil {
		e.courier.withdraw(j)
	}
	if errors.Is(err, sign.ErrReplay) {
		return refuse(statusConflict, "the job %q was accepted before and is no longer kept, so its result cannot be told; it is not run again: use a fresh jobId", j.id)
	}
	return refuseForNow("%v", err)
}

// claimOf is what the verifier knows a job id by.
func claimOf(id string) string { return "job " + id }

// start runs the command, unless the job's end was asked for while it waited.
func (e *Executor) start(j *job, command exec.Command) *refusal {
	switch j.endRequested() {
	case exec.Cancelled:
		return refuse(statusConflict, "the job was cancelled before it started")
	case exec.Stopped:
		return refuseForNow("the daemon stops, and the command was not started: send it again")
	}
	process, err := e.runner.Start(command)
	if err != nil {
		return refusalFor(err)
	}
	j.begin(process)
	return nil
}

// answer sends the result of a job that has ended.
func answer(j *job, st *stream) *refusal {
	now := j.look()
	if now.failure != nil {
		return now.failure
	}
	_ = sendResult(st, j.id, now.process.Result())
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
