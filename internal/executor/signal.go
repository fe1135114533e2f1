package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
)

// maxGrace bounds the grace period of a request, as KILL_GRACE.
const maxGrace = 10 * time.Minute

// endSignals are those that can end a command, in the order of the message.
var endSignals = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1,
	syscall.SIGUSR2, syscall.SIGKILL,
}

// sentSignals are those that POST /jobs/ID/signal sends.
var sentSignals = append(slices.Clone(endSignals), syscall.SIGSTOP, syscall.SIGCONT)

// plainSignals are those that a key may send which may not run any command: like DELETE they end a
// command, and the author of an action reckons with them.
var plainSignals = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL}

// parseSignal takes a name with or without SIG.
func parseSignal(name string, among []syscall.Signal) (syscall.Signal, error) {
	for _, sig := range among {
		if exec.SignalName(sig) == "SIG"+strings.TrimPrefix(name, "SIG") {
			return sig, nil
		}
	}
	return 0, fmt.Errorf("must be one of %s", signalNames(among))
}

// signalNames lists them without SIG.
func signalNames(signals []syscall.Signal) string {
	var names []string
	for _, sig := range signals {
		names = append(names, strings.TrimPrefix(exec.SignalName(sig), "SIG"))
	}
	return strings.Join(names, ", ")
}

func decodeSignal(to *syscall.Signal, among []syscall.Signal) decoder {
	return func(raw json.RawMessage) error {
		var name string
		err := decodeTo(&name, "a string")(raw)
		if err == nil {
			*to, err = parseSignal(name, among)
		}
		return err
	}
}

func (r *shellRequest) decodeGrace(raw json.RawMessage) error {
	r.grace = new(time.Duration)
	return decodeSeconds(r.grace, 0, maxGrace, "for KILL_GRACE")(raw)
}

// signalRequest is the body of POST /jobs/ID/signal.
type signalRequest struct {
	signal syscall.Signal
	group  bool // all processes of the command, not the shell alone
}

func decodeSignalRequest(body []byte) (signalRequest, error) {
	r := signalRequest{group: true}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, &r, signalMembers)
	}
	if err == nil && r.signal == 0 {
		err = errors.New(`signal is missing: send one such as {"signal":"HUP"}`)
	}
	return r, err
}

var signalMembers = []member[signalRequest]{
	{"signal", func(r *signalRequest) decoder { return decodeSignal(&r.signal, sentSignals) }},
	{"group", func(r *signalRequest) decoder { return decodeTo(&r.group, "true or false") }},
}

// signal answers POST /jobs/ID/signal. It requests no end: the command may handle the signal as it
// likes.
func (t *jobTable) signal(call verifiedCall, st *stream) error {
	request, err := decodeSignalRequest(call.Body)
	if err != nil {
		return refusalf(statusBadRequest, "%v", err)
	}
	j, err := t.findOrRefuse(call)
	if err != nil {
		return err
	}
	defer j.release()
	if err := maySend(call.key, request.signal); err != nil {
		return err
	}
	if err := j.sendSignal(request); err != nil {
		return err
	}
	t.logSignal(j, call, request)
	sendData(st, "", func(w *jsonWriter) { w.raw(summary(j, 0)) })
	return nil
}

func maySend(key *policy.Key, sig syscall.Signal) error {
	if key.AnyCommand || slices.Contains(plainSignals, sig) {
		return nil
	}
	return refusalf(statusForbidden, "the key %q may run actions only, and sends them no signals "+
		"but %s", key.Name, signalNames(plainSignals))
}

func (j *job) sendSignal(r signalRequest) error {
	process := j.view().process
	if process == nil {
		return refusalf(statusConflict, "the job %q does not run: it is %s", j.id, j.view().name())
	}
	err := process.Signal(r.signal, r.group)
	switch {
	case errors.Is(err, exec.ErrEnded):
		return refusalf(statusConflict, "the job %q does not run any more", j.id)
	case err != nil:
		return refusalf(statusConflict, "the job %q cannot be sent a signal, as its shell belongs "+
			"to another user now: %v", j.id, err)
	}
	return nil
}

func (t *jobTable) logSignal(j *job, call verifiedCall, r signalRequest) {
	fields := j.fields()
	fields[journal.Signal] = exec.SignalName(r.signal)
	text := fmt.Sprintf("Command was sent %s for %s", fields[journal.Signal], call.caller())
	if !r.group {
		text += ", its shell alone"
	}
	t.records.log.Write(journal.CommandSignalled(), text, fields)
}
