package executor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep/message"
)

// bothEnds keeps 900 bytes of the start and 100 of the end.
func bothEnds(o *Options) { o.Commands.MaxOutput, o.Commands.Tail = 1000, 100 }

// endsReply are the keys of the output in an answer.
type endsReply struct {
	Stdout, StdoutTail, StdoutBase64, StdoutTailBase64 string
	Stderr, StderrTail, StderrBase64, StderrTailBase64 string
	StdoutBytes                                        int64
	StdoutTruncated                                    bool
	State                                              string
}

func endsOf(t *testing.T, answer string) (got endsReply, text string) {
	t.Helper()
	var whole struct {
		Message string
		Data    endsReply
	}
	if err := json.Unmarshal([]byte(answer), &whole); err != nil {
		t.Fatalf("%v: %.200s", err, answer)
	}
	return whole.Data, whole.Message
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func TestAnswer_BothEnds(t *testing.T) {
	r := newRig(t, bothEnds)
	digits := strings.Repeat("0123456789", 1000)
	for name, c := range map[string]struct {
		command string
		want    endsReply
		message string
	}{
		"whole": {
			"printf %1000s x", endsReply{
				Stdout: strings.Repeat(" ", 999) + "x", StdoutBytes: 1000,
			}, "",
		},
		"text": {
			"printf %1001s x; printf %990s y >&2", endsReply{
				Stdout: strings.Repeat(" ", 900), StdoutTail: strings.Repeat(" ", 99) + "x",
				Stderr: strings.Repeat(" ", 989) + "y", StdoutBytes: 1001, StdoutTruncated: true,
			}, "stdout was cut: the first 900 and the last 100 of 1001 bytes are here, 1 between them are " +
				"missing (MAX_OUTPUT)",
		},
		"characters cut in two": {
			"printf xx; i=0; while [ $i -lt 400 ]; do printf 你; i=$((i+1)); done", endsReply{
				Stdout:     "xx" + strings.Repeat("你", 299),
				StdoutTail: strings.Repeat("你", 33), StdoutBytes: 1202, StdoutTruncated: true,
			}, "stdout was cut: the first 900 and the last 100 of 1202 bytes are here, 202 between them are " +
				"missing (MAX_OUTPUT)",
		},
		"the start is not UTF-8": {
			`printf '\377'; printf %1000s x`, endsReply{
				Stdout:           "\ufffd" + strings.Repeat(" ", 899),
				StdoutTail:       strings.Repeat(" ", 99) + "x",
				StdoutBase64:     encoded("\xff" + strings.Repeat(" ", 899)),
				StdoutTailBase64: encoded(strings.Repeat(" ", 99) + "x"),
				StdoutBytes:      1001, StdoutTruncated: true,
			}, "stdout was cut: the first 900 and the last 100 of 1001 bytes are here, 1 between them are " +
				"missing (MAX_OUTPUT)",
		},
		"the end is not UTF-8": {
			`printf %1000s x >&2; printf '\377' >&2`, endsReply{
				Stderr:           strings.Repeat(" ", 900),
				StderrTail:       strings.Repeat(" ", 98) + "x\ufffd",
				StderrBase64:     encoded(strings.Repeat(" ", 900)),
				StderrTailBase64: encoded(strings.Repeat(" ", 98) + "x\xff"),
			}, "stderr was cut: the first 900 and the last 100 of 1001 bytes are here, 1 between them are " +
				"missing (MAX_OUTPUT)",
		},
		"much": {
			"printf " + digits, endsReply{
				Stdout: digits[:900], StdoutTail: digits[:100], StdoutBytes: 10000,
				StdoutTruncated: true,
			}, "stdout was cut: the first 900 and the last 100 of 10000 bytes are here, 9000 between them are " +
				"missing (MAX_OUTPUT)",
		},
	} {
		body, _ := json.Marshal(map[string]string{"command": c.command})
		_, answer := r.call("POST", "/shell", string(body))
		if got, message := endsOf(t, answer); got != c.want || message != c.message {
			t.Errorf("%s: got %q\n%+v, want %q\n%+v", name, message, got, c.message, c.want)
		}
	}
}

// What GET tells of a long output while the command runs, through a reload, after its end, and from
// the disk after a restart.
func TestJob_BothEnds(t *testing.T) {
	path, gate, next := t.TempDir()+"/state", newGate(t), newGate(t)
	r, die := lifeWith(t, path, bothEnds)
	r.shell(`{"command":"printf %950s x; read _ < ` + gate + `; printf %1050s y; read _ < ` + next +
		`; echo end","jobId":"it","wait":false}`)
	first := strings.Repeat(" ", 949) + "x"
	both := first + strings.Repeat(" ", 1049) + "y"
	check := func(when, start, end, state string) {
		t.Helper()
		waitFor(t, func() bool {
			_, answer := r.call("GET", "/jobs/it", "")
			got, _ := endsOf(t, answer)
			return got.Stdout == start && got.StdoutTail == end && got.State == state
		})
		_, answer := r.call("GET", "/jobs/it", "")
		if got, _ := endsOf(t, answer); got.StdoutTail != end {
			t.Errorf("%s: got %q, want %q", when, got.StdoutTail, end)
		}
	}
	check("before the bound", first, "", "running")
	r.reload(bothEnds)
	check("before the bound, after a reload", first, "", "running")
	open(t, gate)
	check("behind the bound", both[:900], both[1900:], "running")
	r.reload(bothEnds)
	check("behind the bound, after a reload", both[:900], both[1900:], "running")
	open(t, next)
	all := both + "end\n"
	check("after its end", all[:900], all[1904:], "ended")
	r.reload(bothEnds)
	check("after its end and a reload", all[:900], all[1904:], "ended")
	r.checkOutputs("after its end", all)
	die()
	r, _ = lifeWith(t, path, bothEnds)
	check("after a restart", all[:900], all[1904:], "ended")
	r.checkOutputs("after a restart", all)
}

func TestCallback_BothEnds(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := lifeWith(t, path, bothEnds)
	r.shell(`{"command":"printf %2000s x","wait":false,"callbackURL":"http://h:1/"}`)
	want := strings.Repeat(" ", 900) + "\n[dataflux-func-sidecar: 1000 bytes left out]\n" +
		strings.Repeat(" ", 99) + "x"
	check := func(when string, p posted) {
		t.Helper()
		var body struct {
			Kwargs struct{ Stdout, Stderr string }
		}
		if err := json.Unmarshal(p.body, &body); err != nil || body.Kwargs.Stdout != want {
			t.Errorf("%s: got %v %q, want %q", when, err, body.Kwargs.Stdout, want)
		}
		if p.header(headerTruncated) != "true" || p.header("X-Sidecar-Stdout-Bytes") != "2000" {
			t.Errorf("%s: got %q", when, p.call.Headers)
		}
	}
	p := r.receivePost()
	check("at first", p)
	r.outcome(p, message.Outcome{Status: 500})
	r.reload(bothEnds)
	check("after a reload", r.receivePost())
	die()
	r, _ = lifeWith(t, path, bothEnds)
	check("after a restart", r.receivePost())
}

// A report that the disk did not take is handed over with both ends.
func TestReport_HandOverBothEnds(t *testing.T) {
	r := newRig(t, bothEnds)
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	before := report{
		stdout: bytesOutput{start: []byte("start"), end: []byte("end"), missing: 7, truncated: true},
		stderr: textOutput("err"),
	}
	state := (&handing{writer: w}).report(before)
	file, err := w.Finish(state)
	if err != nil {
		t.Fatal(err)
	}
	in, err := handover.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	after, err := (&restoring{Executor: r.executor, reader: in}).report("", state)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := joinedText(t, after.stdout), "start"+missingLine(7)+"end"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	if got := joinedText(t, after.stderr); got != "err" || after.stderr.Truncated() {
		t.Errorf("stderr: got %q, want err", got)
	}
}

// checkOutputs checks what GET /jobs/ID/output serves of an ended job that kept 900 and 100 bytes.
func (r *rig) checkOutputs(when, all string) {
	r.t.Helper()
	total := len(all)
	for body, want := range map[string]string{
		``: all[:900], `{"offset":899}`: all[899:900], `{"offset":900}`: "",
		fmt.Sprintf(`{"offset":%d}`, total-101): "",
		fmt.Sprintf(`{"offset":%d}`, total-100): all[total-100:],
		`{"from":"end"}`:                        all[total-100:], `{"from":"end","offset":3}`: all[total-3:],
		`{"from":"end","offset":0}`: "", `{"from":"end","offset":100000,"follow":false}`: all[total-100:],
		`{"from":"end","stream":"stderr"}`: "",
	} {
		if _, got := r.call("GET", "/jobs/it/output", body); got != want {
			r.t.Errorf("%s, output %s: got %d bytes %.20q, want %d %.20q", when, body, len(got), got,
				len(want), want)
		}
	}
}

// An output on disk of a release that kept the start only, and the other way round.
func TestStoredOutput_OtherRelease(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := lifeWith(t, path, func(o *Options) { o.Commands.MaxOutput = 1000 })
	r.shell(`{"command":"printf %1500s x","jobId":"it","wait":false}`)
	waitFor(t, func() bool { return r.job("it").State == "ended" })
	die()
	r, die = lifeWith(t, path, bothEnds)
	_, answer := r.call("GET", "/jobs/it", "")
	if got, _ := endsOf(t, answer); len(got.Stdout) != 1000 || got.StdoutTail != "" ||
		got.StdoutBytes != 1500 {
		t.Errorf("a start alone: got %+v", got)
	}
	r.shell(`{"command":"printf %1500s x","jobId":"both","wait":false}`)
	waitFor(t, func() bool { return r.job("both").State == "ended" })
	stored, err := r.ledger.Result(ofDefault("both").recordID())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := stored.Stdout.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat(" ", 900) + missingLine(500) + strings.Repeat(" ", 99) + "x"
	if got.String() != want {
		t.Errorf("what an earlier release reads: got %q, want %q", got.String(), want)
	}
	for written, missing := range map[int64]int64{0: 1, stored.Stdout.Size() + 7: 7} {
		meta := storedMeta{Truncated: [2]bool{true}, Facts: resultFacts{Written: [2]int64{written}}}
		p := meta.output(0, stored.Stdout).Parts()
		if p.Missing != missing || p.StartSize != stored.Stdout.Size() || p.EndSize != 0 {
			t.Errorf("a start alone, of %d bytes: got %+v, want %d missing", written, p, missing)
		}
	}
	die()
}

// A follower gets every byte that it is there for, also those that are not kept, and nothing that
// only seems to follow.
func TestOutput_FollowBehindTheStart(t *testing.T) {
	gate, next := newGate(t), newGate(t)
	r := newRig(t, bothEnds)
	r.shell(`{"command":"printf %950s x; read _ < ` + gate + `; printf %80s y; read _ < ` + next +
		`; printf %500s z","jobId":"it","wait":false}`)
	waitFor(t, func() bool { return r.outputTotal("it") == 950 })
	start := r.follow(`{"offset":940}`)
	end := r.follow(`{"from":"end","offset":5}`)
	late := r.follow(`{"offset":100}`)
	got := r.readStreams(map[uint64]int{start: 10, end: 5, late: 850})
	open(t, gate)
	r.addStreams(got, map[uint64]int{start: 90, end: 85, late: 930})
	r.reload(bothEnds)
	open(t, next)
	r.addStreams(got, map[uint64]int{start: -1, end: -1, late: -1})
	sent := strings.Repeat(" ", 949) + "x" + strings.Repeat(" ", 79) + "y"
	for id, want := range map[uint64]string{start: sent[940:], end: sent[945:], late: sent[100:]} {
		if string(got[id]) != want {
			t.Errorf("request %d: got %d bytes %.30q, want %d: all that came before the gap", id,
				len(got[id]), got[id], len(want))
		}
	}
	if _, got := r.call("GET", "/jobs/it/output", `{"from":"end","offset":1}`); got != "z" {
		t.Errorf("the end afterwards: got %q, want z", got)
	}
}

func (r *rig) outputTotal(id string) int64 {
	j := mustFind(r.executor.jobs.find(r.options.Policy.Keys["default"], id))
	defer j.release()
	stdout, _ := j.view().outputs()
	if stdout == nil {
		return 0
	}
	_, _, total := stdout.Extent()
	return total
}

// follow begins a request whose answer is read by readStreams and addStreams.
func (r *rig) follow(body string) uint64 {
	r.t.Helper()
	r.send(r.callFrame("GET", "/jobs/it/output", body))
	return r.last
}

// readStreams reads answers until each has as many bytes; -1: until it ends.
func (r *rig) readStreams(want map[uint64]int) map[uint64][]byte {
	r.t.Helper()
	got := map[uint64][]byte{}
	r.addStreams(got, want)
	return got
}

func (r *rig) addStreams(got map[uint64][]byte, want map[uint64]int) {
	r.t.Helper()
	ended := map[uint64]bool{}
	missing := func() bool {
		for id, n := range want {
			if n < 0 && !ended[id] || n >= 0 && len(got[id]) < n {
				return true
			}
		}
		return false
	}
	for missing() {
		f := r.receive()
		payload := f.Payload
		if f.Kind == message.Answer {
			head, err := message.DecodeHead(payload)
			if err != nil {
				r.t.Fatal(err)
			}
			payload = head.Body
		}
		if f.Kind == message.Abort {
			r.t.Fatalf("the answer %d is aborted", f.ID)
		}
		got[f.ID] = append(got[f.ID], payload...)
		if ended[f.ID] = ended[f.ID] || f.Last; !f.Last && len(payload) > 0 {
			r.send(message.Frame{
				Kind: message.Credit, ID: f.ID, Payload: message.CreditOf(len(payload)),
			})
		}
	}
}

// newGate makes a FIFO from which a command reads one line, once, to wait for open.
func newGate(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/gate"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
