package executor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep/message"
)

// CheckHandover returns an error if this program cannot decode what HandOver of another one has
// told. It needs none of the descriptors.
func CheckHandover(document json.RawMessage) error {
	var s executorState
	if err := json.Unmarshal(document, &s); err != nil {
		return fmt.Errorf("cannot take the executor's state over: %w", err)
	}
	return nil
}

// restoring is one Restore.
type restoring struct {
	*Executor
	reader   *handover.Reader
	state    executorState
	sessions []*Session
	jobs     []*job
	streams  []*stream
	callers  map[*job]*stream // who wait for the result of the job that they have started
}

// Restore goes on with what HandOver of the predecessor has told, over the same channels: the
// process is the same, and its commands are its children. It is called once, in place of the
// reclaim and resume of a start, after Confine and Contain. The caller calls Run of the sessions
// that it returns, in the order of channels. After an error the process must end.
func (e *Executor) Restore(
	in *handover.Reader, document json.RawMessage, channels []io.ReadWriteCloser,
) ([]*Session, error) {
	r := &restoring{Executor: e, reader: in, callers: map[*job]*stream{}}
	if err := json.Unmarshal(document, &r.state); err != nil {
		return nil, fmt.Errorf("cannot take the executor's state over: %w", err)
	}
	if len(channels) != len(r.state.Sessions) {
		return nil, errors.New("cannot take the executor's state over: a channel is missing")
	}
	e.counters.restore(r.state.Counters)
	if err := e.runner.Restore(r.state.Runner); err != nil {
		return nil, err
	}
	steps := []func(channels []io.ReadWriteCloser) error{
		r.restoreSessions, r.restoreJobs, r.restoreStreams, r.restoreDeliveries,
	}
	for _, step := range steps {
		if err := step(channels); err != nil {
			return nil, err
		}
	}
	r.start()
	e.runner.Resume()
	return r.sessions, nil
}

func (r *restoring) restoreSessions(channels []io.ReadWriteCloser) error {
	for i, state := range r.state.Sessions {
		limits, err := message.DecodeLimits(state.Limits)
		if err != nil {
			return err
		}
		conn := message.RestoreConn(channels[i], message.FromNetwork(), state.Conn)
		s := r.newSession(newChannel(conn, state.MaxStreams, r.counters), limits)
		s.isSetUp, s.isOver, s.landlock = true, state.Ended, state.Landlock
		s.lastPing.Store(state.LastPing)
		if state.Draining {
			s.draining.Store(true)
			close(s.drainSent)
		}
		s.channel.lastRequest, s.channel.lastPost = state.LastRequest, state.LastPost
		if state.Ready {
			close(s.ready)
		}
		if state.Drained {
			close(s.drained)
		}
		if state.Current {
			r.channels.set(s.channel)
		}
		r.sessions = append(r.sessions, s)
	}
	return nil
}

func (r *restoring) restoreJobs([]io.ReadWriteCloser) error {
	t := r.Executor.jobs
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, state := range r.state.Jobs {
		j, err := r.job(state)
		if err != nil {
			return err
		}
		r.jobs = append(r.jobs, j)
	}
	for _, i := range r.state.Queue {
		if i < 0 || i >= len(r.jobs) {
			return errors.New("cannot take the queue over: a job is missing")
		}
		t.enqueue(r.jobs[i])
	}
	for _, i := range r.state.Kept {
		if i < 0 || i >= len(r.jobs) {
			return errors.New("cannot take the kept jobs over: one is missing")
		}
		t.enterKept(r.jobs[i])
	}
	t.finished = r.state.Finished
	t.bounds.Load(t.slots)
	t.grantQueued()
	return nil
}

// job needs table.mu. It enters a job into the table, in its state.
func (r *restoring) job(s jobRecord) (*job, error) {
	t := r.Executor.jobs
	j := &job{
		origin: origin{parseRecordID(s.ID), s.originFacts},
		table:  t, chosenID: s.ChosenID, command: restoreCommand(s.Command, s.CommandBytes),
		input: s.Input,
		wait:  s.Wait, acceptedAt: s.AcceptedAt, promised: s.Promised, claimed: s.Claimed,
		recorded: s.Recorded, kept: s.Kept, transient: s.Transient, onDisk: s.OnDisk,
		hasSlot: s.HasSlot, reason: s.Reason, endedBy: s.EndedBy,
		endedAt: rebase(s.EndedAt),
		granted: make(chan struct{}), decided: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	if j.state, err = parseJobState(s.State); err != nil {
		return nil, err
	}
	j.startBy = rebase(s.StartBy)
	if s.CallbackURL != "" {
		if j.callbackURL, err = url.Parse(s.CallbackURL); err != nil {
			return nil, fmt.Errorf("cannot take job %s over: %w", s.ID, err)
		}
	}
	if f := s.Failure; f != nil {
		j.failure = &refusal{status: f.Status, message: f.Message, retryAfter: f.RetryAfter}
	}
	copy(j.digest[:], s.Digest)
	if j.kept {
		t.records.ledger.Keep(j.recordID())
	}
	if s.Reported {
		report := recoveredReport(t.records.ledger, state.Pending{
			Job: state.Promise{ID: j.recordID()}, State: state.ResultLost,
		})
		j.report = &report
	}
	if s.Process != nil {
		if j.process, err = r.runner.RestoreProcess(r.reader, *s.Process); err != nil {
			return nil, fmt.Errorf("cannot take job %s over: %w", s.ID, err)
		}
	}
	if s.Call != nil {
		if j.call, err = r.call(*s.Call, s.Remote); err != nil {
			return nil, err
		}
	}
	r.enter(j, s)
	return j, nil
}

func (r *restoring) call(s callState, remote string) (message.Call, error) {
	body, err := r.reader.Bytes(s.Body)
	return message.Call{
		Method: s.Method, Path: s.Path, Nonce: s.Nonce, Timestamp: s.Timestamp,
		Signature: s.Signature, Remote: remote, Body: body,
	}, err
}

// enter needs table.mu. It takes the references and closes the channels that the job's state has.
func (r *restoring) enter(j *job, s jobRecord) {
	t := r.Executor.jobs
	if s.InTable {
		t.byRef[j.jobRef] = j
		j.readers.Add(1)
	}
	if j.state != jobQueued {
		close(j.granted)
	}
	if j.hasSlot {
		t.count(j, 1)
	}
	if j.state >= jobKept {
		close(j.ended)
	} else {
		j.readers.Add(1) // of the request that executes it
		if t.unanswered == 0 {
			t.idle = make(chan struct{})
		}
		t.unanswered++
		t.heldInput += j.input.held()
		if j.promised {
			r.callbacks.addPending(1)
		}
	}
	if s.Accepted || j.state >= jobKept { // else it was being audited
		j.decide(s.Accepted)
	}
}

func (r *restoring) restoreStreams([]io.ReadWriteCloser) error {
	for i, session := range r.sessions {
		for _, state := range r.state.Sessions[i].Streams {
			st, err := r.stream(session.channel, state)
			if err != nil {
				return fmt.Errorf("cannot take an answer over: %w", err)
			}
			session.channel.add(st)
			r.streams = append(r.streams, st)
		}
	}
	for _, j := range r.jobs {
		if j.state == jobForgotten && j.kept && j.readers.Load() == 0 {
			r.Executor.jobs.records.forgetLater(j.recordID())
		}
	}
	return nil
}

// stream takes a reference to the job that the stream waits for, until finishStream.
func (r *restoring) stream(c *channel, s streamState) (*stream, error) {
	st := newStream(c, s.ID)
	st.credit, st.key = s.Credit, cmp.Or(s.Key, policy.DefaultKey)
	after, err := parsePosition(s.After)
	if s.Wait == waitsForEvents && err == nil && len(s.Held) > 0 {
		s.Held = s.Held[:len(s.Held)-1] // an Abort, for earlier releases
	}
	for _, f := range s.Held {
		kind, known := message.ParseKind(f.Kind)
		payload, err := r.reader.Bytes(f.Payload)
		switch {
		case err != nil:
			return nil, err
		case !known:
			return nil, fmt.Errorf("there is no kind %q", f.Kind)
		}
		st.held = append(st.held, heldFrame{kind, f.Last, payload, f.Bytes})
	}
	switch {
	case s.Wait == "":
		return st, nil
	case s.Job < 0 || s.Job >= len(r.jobs):
		return nil, errors.New("its job is missing")
	}
	output := outputRequest{stream: s.Output.Stream, offset: s.Output.Offset, follow: true}
	st.wait = &waiting{
		kind: s.Wait, job: r.jobs[s.Job], result: s.Result, output: output, events: after,
	}
	st.wait.job.readers.Add(1)
	return st, nil
}

func (r *restoring) restoreDeliveries([]io.ReadWriteCloser) error {
	known := map[jobRef]bool{}
	for _, j := range r.jobs {
		known[j.jobRef] = true
	}
	for _, s := range r.state.Deliveries {
		d, err := r.delivery(s)
		if err != nil {
			return err
		}
		known[d.jobRef] = true
		r.callbacks.addPending(1)
		r.callbacks.start(d)
	}
	r.resumeFound(known)
	return nil
}

func (r *restoring) delivery(s deliveryState) (*delivery, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("cannot take the callback of job %s over: %w", s.ID, err)
	}
	report, err := r.report(s.ID, s.Report)
	if err != nil {
		return nil, err
	}
	o := origin{parseRecordID(s.ID), s.originFacts}
	d := r.callbacks.deliverer.newDelivery(o, u, report, rebase(s.Expires))
	d.stored, d.attempts, d.next = s.Stored, s.Attempts, rebase(s.Next)
	d.cause = failure{s.Cause, s.Foreign}
	d.refusedSince, d.short = rebase(s.Refused), s.Short
	if s.Dropped != "" {
		d.drop(s.Dropped)
	}
	if s.Session >= 0 && s.Session < len(r.sessions) {
		c := r.sessions[s.Session].channel
		d.post = &post{channel: c, id: s.Post, done: make(chan struct{})}
		if s.Outcome != nil {
			d.post.outcome = *s.Outcome
			close(d.post.done)
		} else {
			c.posts[s.Post] = d.post
		}
	}
	return d, nil
}

func (r *restoring) report(recordID string, s reportState) (report, error) {
	if s.InLedger {
		loaded, err := loadReport(r.callbacks.records.ledger, recordID)
		if err != nil {
			return lostReport(), nil
		}
		return loaded, nil
	}
	loaded := report{state: s.State, headers: s.Headers}
	for i, start := range []handover.Blob{s.Stdout, s.Stderr} {
		output := bytesOutput{truncated: s.Truncated[i], missing: s.Missing[i]}
		var err1, err2 error
		output.start, err1 = r.reader.Bytes(start)
		output.end, err2 = r.reader.Bytes(s.Ends[i])
		if err := errors.Join(err1, err2); err != nil {
			return report{}, err
		}
		if output.truncated && output.missing == 0 {
			output.missing = 1 // or more: from a release that does not count them
		}
		*[]*capturedOutput{&loaded.stdout, &loaded.stderr}[i] = output
	}
	return loaded, nil
}
