package executor

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

// Commands says how commands run unless a request says otherwise.
type Commands struct {
	Shell     string // absolute path
	Workdir   string // absolute path; empty: the home directory, as it is at each start
	Login     exec.Login
	MaxOutput int64         // bytes kept per stream
	Tail      int           // those of them that are kept of the end
	Timeout   time.Duration // 0: none
	Grace     time.Duration // from SIGTERM to SIGKILL
	Limits    exec.Limits   // upper bounds; requests may ask for less
	LogText   bool          // whether the journal shows commands
	// AuditRequired: a command about which the journal takes no entry is not started.
	AuditRequired bool
	// EndBackground ends what a command leaves in the background together with its shell.
	EndBackground bool
	// Environment has variables for every command. They override those of Login; those of a request
	// override them.
	Environment []exec.Variable
}

// shell runs the commands of POST /shell.
type shell struct {
	commands Commands
	policy   policy.Policy
	runner   *exec.Runner
	jobs     *jobTable
	journal  *journal.Log
	log      requestLog
	homeless atomic.Bool // the last command could not enter the home directory
}

// run answers POST /shell. Once its job is accepted, the command does not depend on its caller.
func (s *shell) run(call verifiedCall, st *stream) error {
	request, command, err := s.decode(call.Body, call.key)
	if err != nil {
		return err
	}
	if request.callbackURL != nil && !s.jobs.callbacks.signs(call.key.Name) {
		return refusalf(statusBadRequest, "callbackURL: the key %s has no SECRET, which signs "+
			"callbacks: write one into [KEY.%[1]s], or send the request without callbackURL and "+
			"ask for the result with GET /jobs/ID", call.key.Name)
	}
	id := request.jobID
	if id == "" {
		id = newJobID()
	}
	st.job, st.trace = id, request.traceparent
	j := s.jobs.newJob(origin{
		jobRef{call.key.Name, id},
		originFacts{call.Remote, request.action, request.labels, request.traceparent},
	}, call.Call, request)
	first, err := s.jobs.admit(j)
	switch {
	case err != nil:
		return err
	case first != j && first.digest != j.digest:
		return refusalf(statusOtherRequest, "the job %q belongs to another request, and nothing "+
			"was run: use a fresh jobId; a repetition may differ in wait, keep and labels only", id)
	case first != j:
		return s.jobs.join(first, request.wait, st)
	}
	return s.execute(j, command, call.Timestamp, st)
}

// decode returns the request of a body and its command, or a refusal. A request for an action has
// its name as action, also if the caller sent that as command.
func (s *shell) decode(body []byte, key *policy.Key) (*shellRequest, *exec.Command, error) {
	request, err := decodeShell(body)
	if err != nil {
		return nil, nil, refusalf(statusBadRequest, "%v", err)
	}
	if err := s.choose(key, request); err != nil {
		return nil, nil, err
	}
	command, err := s.command(request, key)
	if err != nil {
		return nil, nil, refusalf(statusBadRequest, "%v", err)
	}
	return request, command, nil
}

// newJobID is 80 random bits as 16 lower-case letters and digits: unique across restarts and hosts,
// and not to be guessed.
func newJobID() string { return strings.ToLower(rand.Text()[:16]) }

// command turns a request into a command, with the configured defaults.
func (s *shell) command(r *shellRequest, key *policy.Key) (*exec.Command, error) {
	c := &exec.Command{
		Shell: s.commands.Shell, Text: r.command, Dir: s.commands.Workdir,
		MaxOutput: s.commands.MaxOutput, Timeout: s.commands.Timeout, Grace: s.commands.Grace,
		EndWithShell: s.commands.EndBackground, OutputTail: s.commands.Tail,
	}
	r.input.apply(r.action, c)
	c.Secrets = r.secrets()
	r.envs = slices.Concat(r.envs, r.secretEnvs)
	bounds := policy.Lowest(s.commands.Limits, key.Limits)
	if r.action != "" {
		action, _ := s.policy.Action(r.action)
		if err := applyAction(action, r, c); err != nil {
			return nil, err
		}
		bounds = policy.Lowest(bounds, action.Limits)
	}
	var err error
	c.Env, err = exec.Environment(s.commands.Login, slices.Concat(
		s.commands.Environment, r.envs, r.traceparent.variables()))
	if err != nil {
		return nil, err
	}
	if c.Limits, err = boundLimits(r.limits, bounds, s.commands.Limits); err != nil {
		return nil, err
	}
	switch {
	case r.workdir != "":
		c.Dir = r.workdir
	case c.Dir == "":
		c.Dir, c.HomeOrRoot = s.commands.Login.Home, true
	}
	if r.timeout > 0 {
		c.Timeout = r.timeout
	}
	c.Signal = r.signal
	if r.grace != nil {
		c.Grace = *r.grace
	}
	return c, c.Validate()
}

// boundLimits returns the limits asked for, and the bound where none was. None may be above its
// bound, which is the configured one, or a lower one of the key or the action. A weight for which
// none is set is bounded by its default.
func boundLimits(asked, bounds, configured exec.Limits) (limits exec.Limits, err error) {
	bound := func(name, setting string, asked, most, configured, unit uint64) uint64 {
		if asked == 0 {
			return most
		}
		if most != configured {
			setting = "LIMITS of the key or the action"
		}
		if asked > most && most > 0 && err == nil {
			value := strconv.FormatFloat(float64(most)/float64(unit), 'f', -1, 64)
			err = fmt.Errorf("limits: %s: at most %s is allowed here (%s)", name, value, setting)
		}
		return asked
	}
	weight := func(name, setting string, asked, most, configured uint64) uint64 {
		if asked == 0 {
			return most
		}
		return bound(name, setting, asked, cmp.Or(most, exec.DefaultWeight),
			cmp.Or(configured, exec.DefaultWeight), 1)
	}
	limits = exec.Limits{
		OpenFiles: bound("openFiles", "LIMIT_OPEN_FILES", asked.OpenFiles, bounds.OpenFiles,
			configured.OpenFiles, 1),
		Processes: bound("processes", "LIMIT_PROCESSES", asked.Processes, bounds.Processes,
			configured.Processes, 1),
		Memory: bound("memory", "LIMIT_MEMORY", asked.Memory, bounds.Memory, configured.Memory, 1),
		CPUTime: time.Duration(bound("cpuTime", "LIMIT_CPU_TIME", uint64(asked.CPUTime),
			uint64(bounds.CPUTime), uint64(configured.CPUTime), uint64(time.Second))),
		MilliCPU: bound("cpus", "LIMIT_CPUS", asked.MilliCPU, bounds.MilliCPU, configured.MilliCPU,
			1000),
		CPUWeight: weight("cpuWeight", "LIMIT_CPU_WEIGHT", asked.CPUWeight, bounds.CPUWeight,
			configured.CPUWeight),
		IOWeight: weight("ioWeight", "LIMIT_IO_WEIGHT", asked.IOWeight, bounds.IOWeight,
			configured.IOWeight),
	}
	return limits, err
}

// join answers a request whose job id was used before with that job, and runs nothing. If that job
// is refused, so is this request.
func (t *jobTable) join(first *job, wait bool, st *stream) error {
	hasOutput := first.retain()
	if hasOutput {
		defer first.release()
	}
	st.waitFor(&waiting{kind: waitsToJoin, job: first, result: wait})
	defer st.waitFor(nil)
	t.await(first.decided, st)
	if err := first.refusal(); err != nil {
		return err
	}
	if !hasOutput {
		return refusalf(statusConflict,
			"the job %q has ended, and its result is no longer kept: use a fresh jobId", first.id)
	}
	if wait {
		t.await(first.ended, st)
	}
	now := first.view()
	switch {
	case !wait || now.state < jobKept:
		sendAccepted(st, first.id, now.name(), repeatedKey)
	case now.failure != nil:
		return now.failure
	default:
		if err := now.checkDisk(wholeOutputs()...); err != nil {
			return err
		}
		sendResult(st, first.id, now.outcome(), repeatedKey)
	}
	return nil
}

// await waits outside of the gate. It also returns when the caller has gone: repetitions of a long
// job must not pile up.
func (t *jobTable) await(done <-chan struct{}, st *stream) {
	t.gate.Leave()
	defer t.gate.Enter()
	select {
	case <-done:
	case <-st.gone:
	}
}

// execute takes an admitted job to its start; complete does the rest when the command has ended. A
// job that has to wait for its slot is accepted before that.
func (s *shell) execute(j *job, command *exec.Command, timestamp string, st *stream) error {
	if err := j.reserve(timestamp); err != nil {
		j.refuse(err)
		j.answered()
		return err
	}
	accepted := j.acceptQueued()
	if accepted && !j.wait {
		sendAccepted(st, j.id, j.view().name(), "")
	}
	if j.wait || !accepted { // an audit leaves the gate before the answer
		st.waitFor(&waiting{kind: waitsForResult, job: j})
	}
	return s.runGranted(j, command, accepted, st)
}

// runGranted waits outside of the gate until the job has its slot, and starts it.
func (s *shell) runGranted(j *job, command *exec.Command, accepted bool, st *stream) error {
	if !isClosed(j.granted) {
		s.jobs.awaitSlot(j)
	}
	process, err := s.start(j, command)
	if err != nil {
		j.finish(err)
		if accepted {
			s.log.commandNotStarted(j, err)
		}
		j.answered()
		if accepted && !j.wait {
			return nil
		}
		return err
	}
	if !accepted && !j.wait {
		sendAccepted(st, j.id, j.view().name(), "")
	}
	s.log.commandStarted(j, process.PID(), command)
	process.Then(func() { s.complete(j, process, st) })
	return nil
}

// complete ends a job whose command has ended, answers it and logs it.
func (s *shell) complete(j *job, process *exec.Process, st *stream) {
	j.finish(nil)
	if j.wait {
		sendResult(st, j.id, outcomeOf(process), "")
	}
	s.log.commandFinished(j, process.Result())
	j.answered()
}

// start runs the command, unless the job's end was requested while it was queued or audited.
func (s *shell) start(j *job, command *exec.Command) (*exec.Process, error) {
	if err := s.checkStart(j); err != nil {
		return nil, err
	}
	if s.commands.AuditRequired {
		if err := s.audit(j, command); err != nil {
			return nil, err
		}
		if err := s.checkStart(j); err != nil {
			return nil, err
		}
	}
	j.call = message.Call{} // the process has what it needs
	process, err := s.runner.Start(*command)
	if err != nil {
		return nil, startRefusal(err)
	}
	s.noteHome(process.Homeless())
	j.start(process)
	return process, nil
}

// checkStart returns a refusal if the job's end was requested, or if its key was removed since the
// request was verified, before it was in the queue.
func (s *shell) checkStart(j *job) error {
	if err := j.checkStart(); err != nil {
		return err
	}
	if s.jobs.verifier.HasRevoked() && !s.jobs.isSigned(j) {
		return errKeyRemoved()
	}
	return nil
}

// audit waits outside of the gate until the journal has taken an entry about the command.
func (s *shell) audit(j *job, command *exec.Command) error {
	s.jobs.gate.Leave()
	err := s.log.accepted(j, command)
	s.jobs.gate.Enter()
	if err != nil {
		return unavailablef("the command was not started, as the journal does not take an entry "+
			"about it, and AUDIT is \"required\": %v", err)
	}
	return nil
}

// startRefusal tells faults of the request from those of the configuration and of the host.
func startRefusal(err error) error {
	switch exec.FaultOf(err) {
	case exec.FaultRequest:
		return refusalf(statusBadRequest, "%v", err)
	case exec.FaultConfiguration:
		return refusalf(statusInternalServerError, "%v", err)
	}
	return unavailablef("the host cannot start another command now: %v", err)
}

// noteHome logs when the home directory is missing, and when it is there again.
func (s *shell) noteHome(missing bool) {
	home := s.commands.Login.Home
	switch was := s.homeless.Swap(missing); {
	case was == missing:
	case missing:
		s.journal.Write(journal.Degraded(),
			fmt.Sprintf("Commands start in /: the home directory %q cannot be entered. "+
				"Create it, or set WORKDIR", home), nil)
	default:
		s.journal.Write(journal.Degraded(),
			fmt.Sprintf("Commands start in the home directory %q again", home), nil)
	}
}
