package executor

import (
	"errors"
	"net/netip"
	"strings"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// serve carries out one request, from the signature to the answer and the callback.
func (e *Executor) serve(call message.Call, st *stream) {
	remote := call.Remote // the body is not held for as long as a command runs
	why := e.verify(call, int64(st.session.mostStreams()))
	if why == nil {
		why = e.route(call, st)
	}
	if why != nil {
		e.turnAway(address(remote), st, why)
	}
}

// verify is the gate: only what passes it is looked at any further. While the disk hangs, no more than most
// requests wait for it: others can only be of callers who have gone and come again.
func (e *Executor) verify(call message.Call, most int64) *refusal {
	defer e.recording.Add(-1)
	if e.recording.Add(1) > most {
		<-e.verifying
		return refuseForNow("the state directory does not take the nonces of requests at present: try again later")
	}
	err := e.verifier.VerifyThen(sign.Request{
		Method: call.Method, Path: call.Path, Nonce: call.Nonce, Timestamp: call.Timestamp, Body: call.Body,
	}, call.Signature, func() { <-e.verifying }) // before the disk: while it hangs, the channel is read
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sign.ErrFull), errors.Is(err, sign.ErrLedger):
		return refuseForNow("%v", err)
	}
	return refuse(statusUnauthorized, "%v", err)
}

// turnAway answers with a refusal. Those without a valid signature cost a stranger nothing, so the
// journal sums them up; what a holder of the key did wrong is told each time.
func (e *Executor) turnAway(remote string, st *stream, why *refusal) {
	st.session.refuse(func() { _ = sendRefusal(st, why) })
	if why.status == statusUnauthorized {
		e.strangers.note(remote, why.message)
		return
	}
	e.logRefusal(1, why.status, remote, why.message)
}

// handler answers one kind of request. What it returns is the answer if it has not given one.
type handler func(call message.Call, id string, st *stream) *refusal

// table lists all that can be asked for, by path and method.
func (e *Executor) table() map[string]map[string]handler {
	return map[string]map[string]handler{
		"/shell":          {"POST": e.shell},
		"/jobs":           {"GET": e.listJobs},
		"/jobs/ID":        {"GET": e.showJob, "DELETE": e.cancelJob},
		"/jobs/ID/output": {"GET": e.streamOutput},
	}
}

// route finds the handler by path and method.
func (e *Executor) route(call message.Call, st *stream) *refusal {
	path, id := splitPath(call.Path)
	methods, known := e.routes[path]
	if !known {
		return refuse(statusNotFound, "there is nothing at this path: commands go to POST /shell, and /jobs lists them")
	}
	handle, known := methods[call.Method]
	if !known {
		return &refusal{status: statusMethodNotAllowed, message: "this path takes " + allowed(methods) + " only", allow: allowed(methods)}
	}
	return handle(call, id, st)
}

// splitPath takes the job's id out of a path. An id of any other form makes a path that is not known.
func splitPath(path string) (pattern, id string) {
	rest, found := strings.CutPrefix(path, "/jobs/")
	if !found {
		return path, ""
	}
	id, tail, _ := strings.Cut(rest, "/")
	if !isJobID(id) {
		return path, ""
	}
	if tail != "" || strings.HasSuffix(rest, "/") {
		return "/jobs/ID/" + tail, id
	}
	return "/jobs/ID", id
}

func allowed(methods map[string]handler) string {
	var names []string
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if methods[method] != nil {
			names = append(names, method)
		}
	}
	return strings.Join(names, ", ")
}

// address is what the network role says of a caller, made fit for the journal: that role may lie.
func address(remote string) string {
	if remote == "unix socket" {
		return remote
	}
	// Zones are free text: those of this host's interfaces are words.
	if a, err := netip.ParseAddrPort(remote); err == nil && !strings.ContainsFunc(a.Addr().Zone(), notOfHost) {
		return remote
	}
	return "an unknown address"
}
