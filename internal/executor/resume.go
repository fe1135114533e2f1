package executor

// start lets everything go on.
func (r *restoring) start() {
	for _, st := range r.streams {
		if st.wait != nil && st.wait.kind == waitsForResult {
			r.callers[st.wait.job] = st
		}
	}
	for _, j := range r.jobs {
		r.goOn(j)
	}
	for _, st := range r.streams {
		w := st.wait
		r.runner.Go(func() { r.finishStream(st, w) })
	}
}

// goOn executes a job from where it was.
func (r *restoring) goOn(j *job) {
	st := r.callers[j]
	if st == nil {
		st = goneStream(newChannel(nil, 0, r.counters))
	}
	switch j.state {
	case jobQueued, jobStarting:
		r.runner.Go(func() {
			if err := r.shell.runRestored(j, st); err != nil {
				st.job, st.key, st.trace = j.id, j.key, j.Traceparent
				r.server.refuse(j.Remote, st, asRefusal(err))
			}
		})
	case jobRunning:
		process := j.process
		r.runner.Go(func() {
			process.Then(func() { r.shell.complete(j, process, st) })
		})
	}
}

// finishStream sends the frames that were held back, and then what the stream waits for.
func (r *restoring) finishStream(st *stream, w *waiting) {
	st.sendHeld()
	if w == nil {
		return
	}
	defer w.job.release()
	follows := w.kind == waitsForOutput || w.kind == waitsForEvents
	if key, _ := r.shell.policy.Key(st.key); follows && !key.Sees(w.job.key) { // not any more
		st.abort()
		return
	}
	var err error
	switch w.kind {
	case waitsToJoin:
		err = r.Executor.jobs.join(w.job, w.result, st)
	case waitsForOutput:
		r.Executor.jobs.copyOutput(restOfBody(st), st, w.job, w.output)
	case waitsForEvents:
		r.Executor.jobs.copyEvents(restOfBody(st), st, w.job, eventRequest{w.events, true})
	}
	if err != nil {
		st.job, st.key, st.trace = w.job.id, w.job.key, w.job.Traceparent
		r.server.refuse(w.job.Remote, st, asRefusal(err))
	}
}

// runRestored is execute for a job that was queued or about to start, under the present keys and
// configuration.
func (s *shell) runRestored(j *job, st *stream) error {
	key, _ := s.policy.Key(j.key)
	request, command, err := s.decode(j.call.Body, key)
	switch {
	case err != nil:
	case request.action != j.Action: // the name of an action is a command now, or the reverse
		err = refusalf(statusConflict, "the command was not started, as what the key %s may run "+
			"was changed meanwhile, and the request has another meaning now: send it again", j.key)
	default:
		err = checkUse(key, j.Remote)
	}
	if !s.jobs.isSigned(j) {
		err = errKeyRemoved()
	}
	if err != nil {
		j.forbid(err)
	}
	return s.runGranted(j, command, j.isAccepted(), st)
}
