package executor

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// maxVerifying bounds how many MACs are computed at once.
const maxVerifying = 64

// handler answers one kind of request; id is that of the job in the path, or "". It sends an
// answer, or returns an error, which is sent: a refusal as it is, any other with status 500.
type handler func(call message.Call, id string, st *stream) error

// server carries out the requests of all sessions: it verifies and routes them, and sends the
// refusals.
type server struct {
	verifier     *sign.Verifier
	routes       map[string]map[string]handler // by path and method
	log          requestLog
	unauthorized *unauthorizedLog
	gate         gate

	verifying    chan struct{} // a semaphore; begin acquires it, verify releases it
	recording    atomic.Int64  // requests that wait for the disk to record their nonces
	maxRecording int64
}

func newServer(
	verifier *sign.Verifier, s *shell, jobs *jobTable, callbacks *callbackQueue, log requestLog,
	maxRecording int,
) *server {
	return &server{
		verifier: verifier, log: log, unauthorized: &unauthorizedLog{log: log}, gate: jobs.gate,
		verifying: make(chan struct{}, maxVerifying), maxRecording: int64(maxRecording),
		routes: map[string]map[string]handler{
			"/shell":              {"POST": s.run},
			"/jobs":               {"GET": jobs.list},
			"/jobs/ID":            {"GET": jobs.show, "DELETE": jobs.cancel},
			"/jobs/ID/output":     {"GET": jobs.streamOutput},
			"/callbacks":          {"GET": callbacks.list},
			"/callbacks/ID":       {"DELETE": callbacks.drop},
			"/callbacks/ID/retry": {"POST": callbacks.retry},
		},
	}
}

// begin starts to serve a request once fewer than maxVerifying MACs are being computed. It enters
// the gate itself: a request that was received must not be forgotten by a reload.
func (s *server) begin(call message.Call, st *stream) {
	s.verifying <- struct{}{}
	s.gate.Enter()
	go s.serve(call, st)
}

// serve carries out one request, from its signature to its answer, and leaves the gate.
func (s *server) serve(call message.Call, st *stream) {
	defer s.gate.Leave()
	remote := callerAddress(call.Remote)
	call.Remote = remote
	err := s.verify(call)
	if err == nil {
		err = s.route(call, st)
	}
	if err != nil {
		s.refuse(remote, st, asRefusal(err))
	}
}

// verify lets nothing pass but a request whose signature holds: only then is it looked at any
// further. While the disk hangs, at most maxRecording requests wait for it. More can only be from
// callers who hung up and came back.
func (s *server) verify(call message.Call) error {
	defer s.recording.Add(-1)
	if s.recording.Add(1) > s.maxRecording {
		<-s.verifying
		return unavailablef(
			"the state directory does not take the nonces of requests at present: try again later")
	}
	// The semaphore is released before the disk is used, so that the session goes on receiving
	// while the disk hangs.
	release := func() { <-s.verifying }
	err := s.verifier.Verify(signedPart(call), call.Signature, release)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sign.ErrFull), errors.Is(err, sign.ErrLedger):
		return unavailablef("%v", err)
	}
	return refusalf(statusUnauthorized, "%v", err)
}

func signedPart(call message.Call) sign.Request {
	return sign.Request{
		Method: call.Method, Path: call.Path, Nonce: call.Nonce, Timestamp: call.Timestamp,
		Body: call.Body,
	}
}

// route passes the request to the handler for its path and method.
func (s *server) route(call message.Call, st *stream) error {
	path, id := splitPath(call.Path)
	methods, known := s.routes[path]
	if !known {
		return refusalf(statusNotFound,
			"there is nothing at this path: commands go to POST /shell, "+
				"/jobs lists them, and /callbacks what is owed")
	}
	handle, known := methods[call.Method]
	if known {
		st.job = id
		return handle(call, id, st)
	}
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return &refusal{
		status: statusMethodNotAllowed, message: "this path takes " + allow + " only", allow: allow,
	}
}

// splitPath replaces the job id in a path by "ID". A path with an id of another form stays as it
// is, and is not known.
func splitPath(path string) (pattern, id string) {
	for _, prefix := range []string{"/jobs/", "/callbacks/"} {
		rest, found := strings.CutPrefix(path, prefix)
		if !found {
			continue
		}
		id, tail, hasTail := strings.Cut(rest, "/")
		switch {
		case !isJobID(id):
			return path, ""
		case hasTail:
			return prefix + "ID/" + tail, id
		}
		return prefix + "ID", id
	}
	return path, ""
}

// refuse sends a refusal and logs it. Requests without a valid signature are logged as a sum, as
// anyone can send them; each one of a key's holder has an entry.
func (s *server) refuse(remote string, st *stream, r *refusal) {
	st.channel.trackRefusal(func() { sendRefusal(st, r) })
	if r.status == statusUnauthorized {
		s.unauthorized.add(remote, r.message)
		return
	}
	s.log.refused(1, r.status, st.job, remote, r.message)
}

// callerAddress makes the address that the network role states fit for the journal: that role may
// lie.
func callerAddress(remote string) string {
	if remote == "unix socket" {
		return remote
	}
	// A zone is free text; those of this host are the names of its interfaces.
	a, err := netip.ParseAddrPort(remote)
	if err == nil && !strings.ContainsFunc(a.Addr().Zone(), notInHost) {
		return remote
	}
	return "an unknown address"
}
