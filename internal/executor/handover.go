package executor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep/message"
)

// The types below are the executor's part of the document of a handover. Fields may be added; see
// package handover.

type executorState struct {
	Runner     exec.RunnerState
	Counters   countersState
	Finished   int // commands that have ended since the start
	Sessions   []sessionState
	Jobs       []jobRecord
	Queue      []int // indices in Jobs, the oldest first
	Kept       []int // indices in Jobs, the oldest end first
	Deliveries []deliveryState
}

type sessionState struct {
	Conn        message.ConnState
	Limits      []byte // as Setup has them
	MaxStreams  int    // see channel.maxAnswers
	Current     bool   // it accepts callers
	Ready       bool
	Draining    bool
	Drained     bool
	Ended       bool // its role is to be ended, for example as it broke the protocol
	Landlock    int
	LastPing    uint64
	LastRequest uint64
	LastPost    uint64
	Streams     []streamState
}

// streamState is an open stream: frames that are still to be sent, and what comes after them.
type streamState struct {
	ID     uint64
	Key    string `json:",omitzero"` // of its request; releases without names of keys have none
	Credit int
	Held   []heldState
	Wait   waitKind // empty: nothing comes after Held
	Job    int      // index in Jobs
	Result bool     // see waiting
	Output outputState
	// After is an eventPosition. A release that does not know events aborts the answer, by the last
	// of Held.
	After string `json:",omitzero"`
}

type heldState struct {
	Kind    string
	Last    bool
	Payload handover.Blob
	Bytes   int
}

// outputState is an outputRequest that follows its job.
type outputState struct {
	Stream string
	Offset int64
}

// jobRecord has no zero fields in the document: there may be many thousands.
type jobRecord struct {
	ID string `json:",omitzero"` // see jobRef.recordID
	originFacts
	ChosenID     bool               `json:",omitzero"`
	Command      string             `json:",omitzero"`
	CommandBytes int                `json:",omitzero"`
	Input        inputFacts         `json:",omitzero"`
	Wait         bool               `json:",omitzero"`
	CallbackURL  string             `json:",omitzero"`
	AcceptedAt   time.Time          `json:",omitzero"`
	StartBy      time.Time          `json:",omitzero"` // see startWithin
	Digest       []byte             `json:",omitzero"`
	Recorded     bool               `json:",omitzero"`
	Promised     bool               `json:",omitzero"`
	Kept         bool               `json:",omitzero"`
	Transient    bool               `json:",omitzero"`
	Claimed      bool               `json:",omitzero"`
	OnDisk       int64              `json:",omitzero"`
	Reported     bool               `json:",omitzero"` // its result is in the ledger only
	State        string             `json:",omitzero"`
	HasSlot      bool               `json:",omitzero"`
	Accepted     bool               `json:",omitzero"`
	InTable      bool               `json:",omitzero"`
	Reason       exec.Reason        `json:",omitzero"`
	EndedBy      string             `json:",omitzero"`
	EndedAt      time.Time          `json:",omitzero"`
	Failure      *refusalState      `json:",omitzero"`
	Process      *exec.ProcessState `json:",omitzero"`
	Call         *callState         `json:",omitzero"` // of a job that was not started
}

type refusalState struct {
	Status     int
	Message    string
	RetryAfter uint32
}

// callState is the request of a job that was not started. The successor, whose configuration may
// differ, decodes it again.
type callState struct {
	Method, Path, Nonce, Timestamp, Signature string
	Body                                      handover.Blob
}

type deliveryState struct {
	ID string // see jobRef.recordID
	originFacts
	URL      string
	Expires  time.Time
	Stored   bool // on disk
	Report   reportState
	Attempts int
	Next     time.Time
	Cause    string
	Foreign  bool             `json:",omitzero"` // see failure
	Refused  time.Time        // see delivery.refusedSince
	Short    bool             // see delivery.short
	Dropped  string           // see delivery.droppedBy
	Session  int              // index in Sessions of the attempt under way; -1: there is none
	Post     uint64           // its id
	Outcome  *message.Outcome // nil: it has not come
}

// reportState is a report. Its output is in the ledger, or else in the handover.
type reportState struct {
	InLedger       bool
	State          string
	Headers        []string
	Stdout, Stderr handover.Blob
	Truncated      [2]bool
	// A release that does not know ends takes the outputs as cut.
	Ends    [2]handover.Blob `json:",omitzero"`
	Missing [2]int64         `json:",omitzero"`
}

// handing is one HandOver.
type handing struct {
	writer   *handover.Writer
	sessions []*Session
	jobs     []*job
	index    map[*job]int
}

// HandOver tells a successor all that the executor knows, at rest. The successor calls Restore.
func (e *Executor) HandOver(w *handover.Writer, sessions []*Session) (json.RawMessage, error) {
	h := &handing{writer: w, sessions: sessions, index: map[*job]int{}}
	t := e.jobs
	t.records.flush()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range slices.SortedFunc(maps.Values(t.byRef), byAcceptance) {
		h.add(j)
	}
	s := executorState{
		Runner: e.runner.HandOver(w), Counters: e.counters.state(), Finished: t.finished,
	}
	for _, session := range sessions {
		state, err := h.session(session, e.channels)
		if err != nil {
			return nil, err
		}
		s.Sessions = append(s.Sessions, state)
	}
	for _, j := range h.jobs {
		state, err := h.job(j)
		if err != nil {
			return nil, err
		}
		s.Jobs = append(s.Jobs, state)
	}
	for _, j := range t.queue {
		s.Queue = append(s.Queue, h.add(j))
	}
	for _, j := range t.kept {
		s.Kept = append(s.Kept, h.add(j))
	}
	s.Deliveries = h.deliveries(e.callbacks)
	return json.Marshal(s)
}

func byAcceptance(a, b *job) int { return a.acceptedAt.Compare(b.acceptedAt) }

// add returns the index of a job, which may be a new one: callers can wait for jobs that the table
// has forgotten.
func (h *handing) add(j *job) int {
	i, known := h.index[j]
	if !known {
		i = len(h.jobs)
		h.index[j] = i
		h.jobs = append(h.jobs, j)
	}
	return i
}

func (h *handing) session(s *Session, channels *channelRef) (sessionState, error) {
	c := s.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	state := sessionState{
		Conn: c.conn.State(), Limits: s.limits.Encode(), MaxStreams: c.maxAnswers,
		Current: channels.isCurrent(c), Ready: isClosed(s.ready), Draining: s.draining.Load(),
		Drained: isClosed(s.drained), Ended: isClosed(c.closed), LastPing: s.lastPing.Load(),
		LastRequest: c.lastRequest,
		LastPost:    c.lastPost,
	}
	if state.Ready {
		state.Landlock = s.landlock
	}
	for _, id := range slices.Sorted(maps.Keys(c.streams)) {
		stream, err := h.stream(c.streams[id])
		if err != nil {
			return state, err
		}
		state.Streams = append(state.Streams, stream)
	}
	return state, nil
}

// stream needs channel.mu. An error would be a fault of this package: a stream that nothing goes on
// with.
func (h *handing) stream(st *stream) (streamState, error) {
	state := streamState{ID: st.id, Key: st.key, Credit: st.credit}
	complete := false
	for _, f := range st.held {
		state.Held = append(state.Held, heldState{
			Kind: f.Kind.String(), Last: f.Last, Payload: h.writer.AddBytes(f.Payload),
			Bytes: f.Bytes,
		})
		complete = f.Last
	}
	switch w := st.wait; {
	case complete:
	case w != nil:
		state.Wait, state.Job, state.Result = w.kind, h.add(w.job), w.result
		state.Output = outputState{w.output.stream, w.output.offset}
		if w.kind == waitsForEvents {
			state.After = w.events.String()
			state.Held = append(state.Held, heldState{Kind: message.Abort.String(), Last: true})
		}
	default:
		return state, fmt.Errorf("cannot hand the answer %#x over: its writer is not at rest",
			st.id)
	}
	return state, nil
}

// rebase returns a time as both clocks have it now: for a successor, which gets only that of the
// wall clock, and there by the monotonic clock again. So a wall clock that is set before a reload
// or after it changes no wait. Zero stays zero.
func rebase(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	now := time.Now()
	return now.Add(t.Sub(now))
}

// job needs table.mu.
func (h *handing) job(j *job) (jobRecord, error) {
	state := jobRecord{
		ID: j.recordID(), originFacts: j.originFacts,
		ChosenID: j.chosenID, Command: j.command.text,
		CommandBytes: j.command.bytes, Input: j.input, Wait: j.wait,
		AcceptedAt: j.acceptedAt, Digest: j.digest[:], Recorded: j.recorded,
		Promised: j.promised, Kept: j.kept, Claimed: j.claimed, OnDisk: j.onDisk,
		Reported: j.report != nil, Transient: j.transient,
		State: j.state.String(), HasSlot: j.hasSlot, Accepted: j.accepted,
		InTable: j.table.byRef[j.jobRef] == j, Reason: j.reason, EndedBy: j.endedBy,
		EndedAt: j.endedAt, StartBy: rebase(j.startBy),
	}
	if j.callbackURL != nil {
		state.CallbackURL = j.callbackURL.String()
	}
	if j.failure != nil {
		r := asRefusal(j.failure)
		state.Failure = &refusalState{r.status, r.message, r.retryAfter}
	}
	if j.process != nil {
		process := j.process.HandOver(h.writer)
		state.Process = &process
	}
	switch j.state {
	case jobQueued, jobStarting:
		c := j.call
		state.Call = &callState{
			c.Method, c.Path, c.Nonce, c.Timestamp, c.Signature, h.writer.AddBytes(c.Body),
		}
	case jobFinished:
		return state, fmt.Errorf("cannot hand the job %s over: its end is not recorded", j.id)
	}
	return state, nil
}

func (h *handing) deliveries(q *callbackQueue) (all []deliveryState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for d := range q.deliveries {
		state := deliveryState{
			ID: d.recordID(), originFacts: d.originFacts,
			URL: d.url.String(), Expires: rebase(d.expires), Stored: d.stored,
			Report: h.report(d.report), Attempts: d.attempts, Next: rebase(d.next),
			Cause: d.cause.Text, Foreign: d.cause.Foreign,
			Refused: rebase(d.refusedSince), Short: d.short, Dropped: d.droppedBy,
			Session: -1,
		}
		if p := d.post; p != nil {
			state.Post = p.id
			state.Session = slices.IndexFunc(h.sessions, func(s *Session) bool {
				return s.channel == p.channel
			})
			if isClosed(p.done) {
				state.Outcome = &p.outcome
			}
		}
		all = append(all, state)
	}
	return all
}

func (h *handing) report(r report) reportState {
	state := reportState{
		State: r.state, Headers: r.headers,
		Truncated: [2]bool{r.stdout.Truncated(), r.stderr.Truncated()},
	}
	if _, state.InLedger = r.stdout.(storedOutput); state.InLedger {
		return state
	}
	for i, output := range []capturedOutput{r.stdout, r.stderr} {
		p := output.Parts()
		*[]*handover.Blob{&state.Stdout, &state.Stderr}[i] = h.writer.Add(p.Start)
		if state.Missing[i] = p.Missing; p.EndSize > 0 {
			state.Ends[i] = h.writer.Add(p.End)
		}
	}
	return state
}
