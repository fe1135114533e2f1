package executor

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/worker"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

const (
	// maxVerifying bounds how many requests are verified at once.
	maxVerifying = 64
	// verifyingUnit is how many bytes of MACs count as one of them. Before its signature holds, a
	// request costs as many MACs over its body as there are secrets: with 100 of them, one of 1 MiB
	// has the executor for itself, and a flood of such requests holds up no reload.
	verifyingUnit = 1 << 20
)

// verifiedCall is a request whose signature holds, from a caller that the key admits.
type verifiedCall struct {
	message.Call
	key *policy.Key // of the signer
	job string      // the job in the path, ID or KEY:ID; empty: none
}

// caller is who sent the request, for the text of an entry.
func (c verifiedCall) caller() string {
	return origin{jobRef{key: c.key.Name}, originFacts{Remote: c.Remote}}.caller()
}

// handler answers one kind of request. It sends an answer, or returns an error, which is sent: a
// refusal as it is, any other with status 500.
type handler func(call verifiedCall, st *stream) error

// server carries out the requests of all sessions: it verifies and routes them, and sends the
// refusals.
type server struct {
	verifier     *sign.Verifier
	policy       policy.Policy
	hosts        policy.Hosts
	routes       map[string]map[string]handler // by path and method
	log          requestLog
	unauthorized *unauthorizedLog
	gate         gate

	acquiring    sync.Mutex    // held by whoever acquires verifying
	verifying    chan struct{} // a semaphore; begin acquires it, verify releases it
	recording    atomic.Int64  // requests that wait for the disk to record their nonces
	maxRecording int64
}

func newServer(
	verifier *sign.Verifier, hosts policy.Hosts, s *shell, jobs *jobTable,
	callbacks *callbackQueue, log requestLog, maxRecording int,
) *server {
	return &server{
		verifier: verifier, policy: s.policy, hosts: hosts, log: log,
		unauthorized: &unauthorizedLog{log: log}, gate: jobs.gate,
		verifying: make(chan struct{}, maxVerifying), maxRecording: int64(maxRecording),
		routes: map[string]map[string]handler{
			"/shell":              {"POST": s.run},
			"/actions":            {"GET": s.listActions},
			"/jobs":               {"GET": jobs.list},
			"/jobs/ID":            {"GET": jobs.show, "DELETE": jobs.cancel},
			"/jobs/ID/output":     {"GET": jobs.streamOutput},
			"/jobs/ID/signal":     {"POST": jobs.signal},
			"/jobs/ID/events":     {"GET": jobs.streamEvents},
			"/callbacks":          {"GET": callbacks.list},
			"/callbacks/ID":       {"DELETE": callbacks.drop},
			"/callbacks/ID/retry": {"POST": callbacks.retry},
		},
	}
}

// begin starts to serve a request once there is room to verify it. It enters the gate itself: a
// request that was received must not be forgotten by a reload.
func (s *server) begin(call message.Call, st *stream) {
	cost := s.costOf(call)
	s.acquire(cost)
	s.gate.Enter()
	worker.Go(func() { s.serve(call, cost, st) })
}

// costOf is how much of verifying a request takes, 1 to maxVerifying. An HTTP message signature has
// the cost of one MAC.
func (s *server) costOf(call message.Call) int {
	macs := 1
	if _, isMessage := message.ParseHTTPSignature(call.Signature); !isMessage {
		macs = s.verifier.Secrets()
	}
	return min(1+len(call.Body)*macs/verifyingUnit, maxVerifying)
}

func (s *server) acquire(cost int) {
	s.acquiring.Lock() // two that acquire in turns would wait for each other
	defer s.acquiring.Unlock()
	for range cost {
		s.verifying <- struct{}{}
	}
}

func (s *server) release(cost int) {
	for range cost {
		<-s.verifying
	}
}

// serve carries out one request, from its signature to its answer, and leaves the gate.
func (s *server) serve(call message.Call, cost int, st *stream) {
	defer s.gate.Leave()
	remote := callerAddress(call.Remote)
	call.Remote = remote
	verified, err := s.verify(call, cost)
	if err == nil {
		st.key = verified.key.Name
		err = checkUse(verified.key, remote)
	}
	if err == nil {
		err = s.route(verified, st)
	}
	if err != nil {
		s.refuse(remote, st, asRefusal(err))
	}
}

// verify returns a request whose signature holds: only then is it looked at any further. While the
// disk hangs, at most maxRecording requests wait for it. More can only be from callers who hung up
// and came back.
func (s *server) verify(call message.Call, cost int) (verifiedCall, error) {
	defer s.recording.Add(-1)
	if s.recording.Add(1) > s.maxRecording {
		s.release(cost)
		return verifiedCall{}, unavailablef(
			"the state directory does not take the nonces of requests at present: try again later")
	}
	// The semaphore is released before the disk is used, so that the session goes on receiving
	// while the disk hangs.
	release := func() { s.release(cost) }
	name, err := s.verifySignature(&call, release)
	switch {
	case errors.Is(err, sign.ErrFull), errors.Is(err, sign.ErrLedger):
		return verifiedCall{}, unavailablef("%v", err)
	case err != nil:
		return verifiedCall{}, refusalf(statusUnauthorized, "%v", err)
	}
	key, known := s.policy.Key(name)
	if !known { // a fault of this program
		return verifiedCall{}, fmt.Errorf("the key %q has no policy", name)
	}
	return verifiedCall{Call: call, key: key}, nil
}

// verifySignature returns the name of the key that signed. It sets the timestamp of a call whose
// HTTP message signature holds.
func (s *server) verifySignature(call *message.Call, release func()) (name string, err error) {
	h, isMessage := message.ParseHTTPSignature(call.Signature)
	if !isMessage {
		return s.verifier.Verify(signedPart(*call), call.Signature, release)
	}
	isHost := func(authority string) bool {
		return s.hosts.Accepts(authority, h.Local, call.Remote == unixSocket)
	}
	name, call.Timestamp, err = s.verifier.VerifyMessage(messageOf(*call, h), isHost, release)
	return name, err
}

// checkUse returns a refusal if the key has expired or is not accepted from the caller's address.
func checkUse(key *policy.Key, remote string) error {
	address, _ := netip.ParseAddrPort(remote) // zero if it is unknown, which is in no network
	if err := key.CheckUse(time.Now(), address.Addr(), remote == unixSocket); err != nil {
		return refusalf(statusForbidden, "%v", err)
	}
	return nil
}

func signedPart(call message.Call) sign.Request {
	return sign.Request{
		Method: call.Method, Path: call.Path, Nonce: call.Nonce, Timestamp: call.Timestamp,
		Body: call.Body,
	}
}

// messageOf returns the signed parts of a request with an HTTP message signature.
func messageOf(call message.Call, h message.HTTPSignature) sign.Message {
	return sign.Message{
		Method: call.Method, Authority: h.Authority, Path: call.Path,
		Input: h.Input, Signature: h.Signature, Digest: h.Digest, Body: call.Body,
	}
}

// isSigned reports whether the signature of a request that was verified earlier holds under a key
// with the name now.
func isSigned(v *sign.Verifier, key string, call message.Call) bool {
	if h, isMessage := message.ParseHTTPSignature(call.Signature); isMessage {
		return v.IsMessageSigned(key, messageOf(call, h))
	}
	return v.IsSigned(key, signedPart(call), call.Signature)
}

// route passes the request to the handler for its path and method.
func (s *server) route(call verifiedCall, st *stream) error {
	path, job := splitPath(call.Path)
	methods, known := s.routes[path]
	if !known {
		return refusalf(statusNotFound,
			"there is nothing at this path: commands go to POST /shell, /jobs lists them, "+
				"/callbacks what is owed, and /actions what the key may run")
	}
	handle, known := methods[call.Method]
	if known {
		_, st.job = splitAddress(job)
		call.job = job
		return handle(call, st)
	}
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return &refusal{
		status: statusMethodNotAllowed, message: "this path takes " + allow + " only", allow: allow,
	}
}

// splitPath replaces the job in a path, ID or KEY:ID, by "ID". A path with a job of another form
// stays as it is, and is not known.
func splitPath(path string) (pattern, job string) {
	for _, prefix := range []string{"/jobs/", "/callbacks/"} {
		rest, found := strings.CutPrefix(path, prefix)
		if !found {
			continue
		}
		job, tail, hasTail := strings.Cut(rest, "/")
		key, id := splitAddress(job)
		switch {
		case !isJobID(id), id != job && !isJobID(key):
			return path, ""
		case hasTail:
			return prefix + "ID/" + tail, job
		}
		return prefix + "ID", job
	}
	return path, ""
}

// splitAddress returns the parts of KEY:ID; key is empty for an ID alone.
func splitAddress(job string) (key, id string) {
	if key, id, named := strings.Cut(job, ":"); named {
		return key, id
	}
	return "", job
}

// refuse sends a refusal and logs it. Requests without a valid signature are logged as a sum, as
// anyone can send them; each one of a key's holder has an entry.
func (s *server) refuse(remote string, st *stream, r *refusal) {
	st.channel.trackRefusal(func() { sendRefusal(st, r) })
	if r.status == statusUnauthorized {
		s.unauthorized.add(remote, r.message)
		return
	}
	s.log.refused(refusedRequests{
		count: 1, status: r.status, remote: remote, reason: r.message, key: st.key, job: st.job,
		trace: st.trace,
	})
}

// unixSocket is the address of every caller on a Unix socket.
const unixSocket = "unix socket"

// callerAddress makes the address that the network role states fit for the journal: that role may
// lie.
func callerAddress(remote string) string {
	if remote == unixSocket {
		return remote
	}
	// A zone is free text; those of this host are the names of its interfaces.
	a, err := netip.ParseAddrPort(remote)
	if err == nil && !strings.ContainsFunc(a.Addr().Zone(), notInHost) {
		return remote
	}
	return "an unknown address"
}
