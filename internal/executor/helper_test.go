package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

const testKey = "a-key-for-tests-only"

// lockedBuffer collects the journal's text.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is an executor whose network role is the test itself.
type rig struct {
	t        *testing.T
	executor *Executor
	session  *Session
	network  *message.Conn
	ended    chan error
	log      *lockedBuffer
	last     uint64
	options  Options
	stream   net.Conn          // the executor's end of the channel
	posts    map[uint64]posted // callback attempts that are still arriving

	// Of life.
	dir    *state.Dir
	ledger *state.Deliveries
}

func testOptions(t *testing.T, log *lockedBuffer) Options {
	t.Helper()
	verifier, err := sign.NewVerifier([]sign.Key{{Name: policy.DefaultKey, Secret: []byte(testKey)}}, 300*time.Second, time.Now,
		sign.NewNonceCache(300*time.Second, 10000, time.Now, nil))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := state.OpenDir(t.TempDir() + "/state")
	if err != nil {
		t.Fatal(err)
	}
	ledger, found, err := state.OpenDeliveries(dir, 16<<20, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Verifier: verifier, Policy: policy.New([]policy.Key{policy.Default()}, nil),
		Commands: Commands{
			Shell: "/bin/sh", Workdir: "/", Login: exec.Login{Name: "t", Home: "/", Shell: "/bin/sh"},
			MaxOutput: 8 << 20, Grace: time.Second, LogText: true,
		},
		Jobs: Jobs{
			Load: func(int) {}, MaxRunning: 50, KeepCount: 100, KeepTime: time.Hour, KeepBytes: 64 << 20,
		},
		Callbacks: Callbacks{
			Keys: map[string][]byte{policy.DefaultKey: []byte(testKey)}, Expiry: time.Minute, MaxPending: 50, Ledger: ledger, Found: found,
		},
		Limits: message.Limits{
			MaxBody: 1 << 20, MaxConnections: 100, CallbackTimeout: time.Second,
		},
		Log: journal.NewText(log),
	}
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	log := &lockedBuffer{}
	options := testOptions(t, log)
	if change != nil {
		change(&options)
	}
	e, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	if len(options.Callbacks.Found.Pending) == 0 { // else deliveries are under way already
		e.callbacks.deliverer.minRetry = 20 * time.Millisecond
	}
	r := &rig{t: t, executor: e, log: log, options: options}
	t.Cleanup(func() { r.executor.EndAll() }) // no command outlives its test
	r.connect()
	return r
}

// connect plays a network role that has just become ready.
func (r *rig) connect() {
	r.t.Helper()
	a, b := net.Pipe()
	r.network = message.NewConn(b, message.FromExecutor())
	r.session = r.executor.Connect(message.NewConn(a, message.FromNetwork()))
	r.ended, r.last, r.posts = make(chan error, 1), 0, map[uint64]posted{}
	session := r.session
	r.stream = a
	go func(ended chan error) {
		ended <- session.Run()
		_ = a.Close()
	}(r.ended)
	r.t.Cleanup(func() { _ = b.Close() })
	if f := r.receive(); f.Kind != message.Setup {
		r.t.Fatalf("the first frame is of kind %d, want Setup", f.Kind)
	}
	r.send(message.Frame{Kind: message.Ready, Payload: []byte{1}})
	<-r.session.Ready()
}

func (r *rig) send(f message.Frame) {
	r.t.Helper()
	if err := r.network.Send(f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) receive() message.Frame {
	r.t.Helper()
	f, err := r.network.Receive()
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// signed is a request as the stock client signs it.
func signed(method, path, nonce, body string) message.Call {
	request := sign.Request{
		Method: method, Path: path, Nonce: nonce, Timestamp: fmt.Sprint(time.Now().Unix()),
		Body: []byte(body),
	}
	return message.Call{
		Method: method, Path: path, Nonce: nonce, Timestamp: request.Timestamp, Body: request.Body,
		Signature: sign.Signature([]byte(testKey), request), Remote: "127.0.0.1:1",
	}
}

// request sends a signed POST /shell and returns its id.
func (r *rig) request(body string) uint64 {
	r.t.Helper()
	r.last++
	call := signed("POST", "/shell", fmt.Sprintf("nonce-%p-%d", r.session, r.last), body)
	r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	return r.last
}

// answer receives one whole answer, giving credit as the network role does. The next frame must be
// the answer's first: no other may come unasked.
func (r *rig) answer() (id uint64, head message.Head, body []byte) {
	r.t.Helper()
	f := r.receive()
	if f.Kind != message.Answer {
		r.t.Fatalf("kind %d, want Answer", f.Kind)
	}
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	id, body = f.ID, append(body, head.Body...)
	n := len(head.Body)
	for !f.Last {
		if n > 0 {
			r.send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(n)})
		}
		f = r.receive()
		n, body = len(f.Payload), append(body, f.Payload...)
	}
	return id, head, body
}

// pieceOf returns the part of an answer's body that a frame has.
func (r *rig) pieceOf(f message.Frame) []byte {
	r.t.Helper()
	if f.Kind != message.Answer {
		return f.Payload
	}
	head, err := message.DecodeHead(f.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return head.Body
}

// receiveWindow receives what comes of an answer without credit.
func (r *rig) receiveWindow() (body []byte) {
	r.t.Helper()
	for message.Window-len(body) >= message.MaxData {
		body = append(body, r.pieceOf(r.receive())...)
	}
	return body
}

// reply is the JSON of an answer.
type reply struct {
	OK      bool
	Message string
	Data    *struct {
		Stdout, Stderr, StdoutBase64, JobID string
		ExitCode                            *int
		Signal                              *string
		TimedOut, StdoutTruncated, Repeated bool
		StdoutBytes                         int64
	}
}

func (r *rig) shell(body string) (message.Head, reply) {
	r.t.Helper()
	r.request(body)
	_, head, raw := r.answer()
	return head, parse(r.t, raw)
}

func parse(t *testing.T, raw []byte) reply {
	t.Helper()
	var got reply
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("the answer is not JSON: %v: %.200s", err, raw)
	}
	return got
}

func (r *rig) running() int {
	n, _, _, _ := r.executor.Counts()
	return n
}

func (r *rig) finished() int {
	_, _, n, _ := r.executor.Counts()
	return n
}

func (r *rig) owed() int {
	_, _, _, n := r.executor.Counts()
	return n
}

// newTestTable is a table without callbacks and claims.
func newTestTable(bounds Jobs) *jobTable {
	if bounds.Load == nil {
		bounds.Load = func(int) {}
	}
	return newJobTable(bounds, policy.New([]policy.Key{policy.Default()}, nil), &jobRecords{}, nil, nil, newCounters("", configured{}), noGate{})
}

// ofDefault is the origin of a job of the default key.
func ofDefault(id string) origin {
	return origin{jobRef: jobRef{policy.DefaultKey, id}, originFacts: originFacts{Remote: "test"}}
}

// mustFind is for look-ups that cannot be ambiguous.
func mustFind[T any](found T, err error) T {
	if err != nil {
		panic(err)
	}
	return found
}

func admitted(t *testing.T, table *jobTable, id string) *job {
	t.Helper()
	j := table.newJob(ofDefault(id), message.Call{}, &shellRequest{})
	if first, err := table.admit(j); first != j || err != nil {
		t.Errorf("job %s was not admitted: %v", id, err)
	}
	return j
}

// noGate is for tests that rest nothing.
type noGate struct{}

func (noGate) Enter()      {}
func (noGate) Leave()      {}
func (noGate) Go(f func()) { go f() }
