package executor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep/message"
)

// event is one server-sent event.
type event struct {
	id, name string
	data     struct {
		At, Text, Base64, Stream, State, Message, Failure, Ended string
		Offset, Bytes                                            int64
		ExitCode                                                 *int
	}
}

// output is the output in the event.
func (e event) output() string {
	decoded, _ := base64.StdEncoding.DecodeString(e.data.Base64)
	return e.data.Text + string(decoded)
}

// parseEvents decodes a whole answer, as the standard says.
func parseEvents(t *testing.T, text string) (events []event) {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n\n") {
		t.Errorf("got %.200q, want events that end with an empty line", text)
	}
	for _, block := range strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		var e event
		for _, line := range strings.Split(block, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				if err := json.Unmarshal([]byte(value), &e.data); err != nil {
					t.Errorf("%v: %.200s", err, value)
				}
			case "":
			default:
				t.Errorf("got a line %.100q", line)
			}
		}
		if e.name != "" {
			events = append(events, e)
		}
	}
	return events
}

func (r *rig) events(id, body string) []event {
	r.t.Helper()
	head, answer := r.call("GET", "/jobs/"+id+"/events", body)
	if head.Status != 200 || head.ContentType != message.EventStream {
		r.t.Fatalf("got %d %q: %.200s", head.Status, head.ContentType, answer)
	}
	return parseEvents(r.t, answer)
}

// told is the names and outputs of events, without times.
func told(events []event) string {
	var text strings.Builder
	for _, e := range events {
		fmt.Fprintf(&text, "%s %s %q", e.id, e.name, e.output())
		if e.name == "missing" {
			fmt.Fprintf(&text, " %s %d %d", e.data.Stream, e.data.Offset, e.data.Bytes)
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// The streams in turn, with times, and then the result; from any position, and from the disk.
func TestEvents_InOrder(t *testing.T) {
	path, gates := t.TempDir()+"/state", []string{newGate(t), newGate(t)}
	r, die := lifeWith(t, path, nil)
	r.shell(`{"command":"printf 1; read _ < ` + gates[0] + `; printf 22 >&2; read _ < ` + gates[1] +
		`; printf '\\377'; exit 3","jobId":"it","wait":false}`)
	waitFor(t, func() bool { return r.outputTotal("it") == 1 })
	if got, want := told(r.events("it", `{"follow":false}`)), "1-0 stdout \"1\"\n"; got != want {
		t.Errorf("while it runs: got\n%s\nwant\n%s", got, want)
	}
	open(t, gates[0])
	waitFor(t, func() bool { return strings.Contains(told(r.events("it", `{"follow":false}`)), "22") })
	open(t, gates[1])
	all := []string{
		`1-0 stdout "1"`, `1-2 stderr "22"`, `2-2 stdout "\xff"`, `2-2-end result ""`, "",
	}
	check := func(when string) {
		t.Helper()
		events := r.events("it", "")
		if got, want := told(events), strings.Join(all, "\n"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", when, got, want)
			return
		}
		for i, e := range events[:3] {
			if at, err := time.Parse(timeFormat, e.data.At); err != nil ||
				time.Since(at) > time.Hour || i > 0 && e.data.At < events[i-1].data.At {
				t.Errorf("%s: event %d is of %q", when, i, e.data.At)
			}
		}
		if e := events[3].data; e.State != "ended" || e.Ended != "exited" || *e.ExitCode != 3 {
			t.Errorf("%s: got %+v, want the result", when, e)
		}
		for i, after := range []string{"", "1-0", "1-2", "2-2", "2-2-end"} {
			got := told(r.events("it", `{"after":"`+after+`"}`))
			if want := strings.Join(all[min(i, 4):], "\n"); got != want {
				t.Errorf("%s, after %q: got\n%s\nwant\n%s", when, after, got, want)
			}
		}
		if got := told(r.events("it", `{"after":"1-1"}`)); !strings.HasPrefix(got, `1-2 stderr "2"`) {
			t.Errorf("%s, in the middle of a piece: got %s", when, got)
		}
	}
	check("after its end")
	r.reload(nil)
	check("after a reload")
	die()
	r, _ = lifeWith(t, path, nil)
	check("after a restart")
}

// A follower goes on through a reload, and is told what was not kept.
func TestEvents_FollowThroughReload(t *testing.T) {
	gate, next := newGate(t), newGate(t)
	r := newRig(t, bothEnds)
	r.shell(`{"command":"printf %950s x; read _ < ` + gate + `; printf %500s y; read _ < ` + next +
		`; printf 你 >&2","jobId":"it","wait":false}`)
	waitFor(t, func() bool { return r.outputTotal("it") == 950 })
	r.send(r.callFrame("GET", "/jobs/it/events", `{"after":"940-0"}`))
	id, got := r.last, map[uint64][]byte{}
	readUntil := func(text string) {
		t.Helper()
		for n := 1; !strings.Contains(string(got[id]), text); n++ {
			r.addStreams(got, map[uint64]int{id: len(got[id]) + 1})
		}
	}
	readUntil("950-0")
	r.reload(bothEnds)
	open(t, gate)
	readUntil("1450-0")
	r.reload(bothEnds)
	open(t, next)
	r.addStreams(got, map[uint64]int{id: -1})
	spaces := func(n int) string { return strings.Repeat(" ", n) }
	want := fmt.Sprintf("950-0 stdout %q\n1350-0 missing \"\" stdout 950 400\n1450-0 stdout %q\n"+
		"1450-3 stderr \"你\"\n1450-3-end result \"\"\n", spaces(9)+"x", spaces(99)+"y")
	if got := told(parseEvents(t, string(got[id]))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What an earlier release does with an answer that waits for events: it ends it as incomplete.
func TestEvents_HandOverToEarlierRelease(t *testing.T) {
	r := newRig(t, nil)
	st := newStream(r.session.channel, 7)
	st.wait = &waiting{
		kind: waitsForEvents, job: r.executor.jobs.newJob(ofDefault("it"), message.Call{}, &shellRequest{}),
		events: eventPosition{bytes: [2]int64{5, 6}},
	}
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	got, err := (&handing{writer: w, index: map[*job]int{}}).stream(st)
	if err != nil || got.After != "5-6" || len(got.Held) != 1 || !got.Held[0].Last ||
		got.Held[0].Kind != message.Abort.String() {
		t.Errorf("got %+v, %v, want After 5-6, and an Abort", got, err)
	}
}

// Large output comes in pieces of text, which together are all of it.
func TestEvents_Large(t *testing.T) {
	r := newRig(t, nil)
	_, want := r.shell(`{"command":"seq 100000 | sed s/^/你好/; yes é | head -c 100001 >&2","jobId":"it"}`)
	var got [2]strings.Builder
	for _, e := range r.events("it", "") {
		for i, name := range streamNames() {
			if e.name != name {
				continue
			}
			if e.data.Offset != int64(got[i].Len()) || len(e.output()) > maxPiece {
				t.Fatalf("%s %s: got %d bytes at %d after %d", e.id, name, len(e.output()),
					e.data.Offset, got[i].Len())
			}
			got[i].WriteString(e.output())
		}
	}
	if got[0].String() != want.Data.Stdout || got[1].Len() != 100001 {
		t.Errorf("got %d and %d bytes, want %d and 100001", got[0].Len(), got[1].Len(),
			len(want.Data.Stdout))
	}
}

// The bound of an event cuts no character, the end of a read may.
func TestEvents_CutCharacters(t *testing.T) {
	for _, c := range []struct {
		piece, sent string
		more        int64
	}{{"你\xe4\xbd", "你", 1}, {"你\xe4\xbd", "你\xe4\xbd", 0}, {"\xe4", "\xe4", 1}, {"\xff", "\xff", 1}} {
		var text strings.Builder
		w := &frameWriter{send: func(piece []byte, _ bool) error { text.Write(piece); return nil }}
		e := eventWriter{w: w}
		e.text(0, 0, int64(len(c.piece))+c.more, []byte(c.piece), time.Now())
		_ = w.Flush()
		got := parseEvents(t, text.String())
		if len(got) != 1 || got[0].output() != c.sent || e.position.bytes[0] != int64(len(c.sent)) {
			t.Errorf("%q and %d more: got %+v up to %d, want %q", c.piece, c.more, got,
				e.position.bytes[0], c.sent)
		}
	}
}

// Jobs that have no result, or no order, have events nevertheless.
func TestEvents_WithoutOrder(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := lifeWith(t, path, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 60","jobId":"runs","wait":false}`)
	r.shell(`{"command":"true","jobId":"queued","wait":false}`)
	if got := r.events("queued", `{"follow":false}`); len(got) != 0 {
		t.Errorf("a queued job: got %v, want no event", got)
	}
	r.call("DELETE", "/jobs/queued", "")
	if got := r.events("queued", ""); len(got) != 1 || got[0].name != "result" ||
		got[0].data.Failure == "" {
		t.Errorf("a job that was not started: got %+v, want its failure", got)
	}
	die()
	r.executor.EndAll()
	r, _ = lifeWith(t, path, nil)
	got := r.events("runs", "")
	if len(got) != 2 || got[0].name != "stderr" || !strings.Contains(got[0].data.Text, "not run again") ||
		got[1].data.Ended != "interrupted" {
		t.Errorf("an interrupted job: got %+v, want its stderr and its end", got)
	}
	j := mustFind(r.executor.jobs.find(r.options.Policy.Keys["default"], "runs"))
	defer j.release()
	for _, order := range []string{"", "\x01\x01\x01", "\xff"} {
		v := j.view()
		changed := *v.report
		changed.order = []byte(order)
		v.report = &changed
		marks := v.marksAfter(0, 0, 9)
		if len(marks) != 1 || marks[0].Stderr != int64(len(got[0].data.Text)) {
			t.Errorf("order %q: got %v, want one mark", order, marks)
		}
	}
}

func TestEvents_Refused(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"true","jobId":"it"}`)
	for body, want := range map[string]string{
		`{"after":5}`:                       "after: must be a string",
		`{"after":"1"}`:                     "after: must be the id of an event",
		`{"after":"1-x"}`:                   "after: must be the id of an event",
		`{"after":"01-0"}`:                  "after: must be the id of an event",
		`{"after":"9223372036854775807-0"}`: "after: must be the id of an event",
		`{"follow":1}`:                      "follow: must be true or false",
		`{"from":"end"}`:                    "unknown key \"from\": the keys are after, follow",
		`[]`:                                "the body is not a JSON object",
	} {
		head, answer := r.call("GET", "/jobs/it/events", body)
		if head.Status != 400 || !strings.Contains(parse(t, []byte(answer)).Message, want) {
			t.Errorf("%s: got %d %s, want 400 and %s", body, head.Status, answer, want)
		}
	}
	if head, _ := r.call("GET", "/jobs/other/events", ""); head.Status != 404 {
		t.Errorf("no such job: got %d, want 404", head.Status)
	}
	if head, _ := r.call("POST", "/jobs/it/events", ""); head.Status != 405 || head.Allow != "GET" {
		t.Errorf("POST: got %d %q, want 405", head.Status, head.Allow)
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"", "0-0", "12-34-end", "-1-2", "1-2-3", "+1-2", "1152921504606846977-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(text)
		if err != nil {
			return
		}
		if got := p.String(); text != "" && got != text || p.bytes[0] < 0 || p.bytes[1] < 0 {
			t.Errorf("got %q for %q", got, text)
		}
	})
}

func FuzzDecodeFollowers(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", `{"from":"end","offset":5,"follow":false,"stream":"stderr"}`, `{"offset":-1}`,
		`{"from":"end","offset":null}`, `{"after":"1-2-end","follow":true}`, `{"after":"1-2","after":"3-4"}`,
		`{"offset":1e3}`, `{"offset":9223372036854775808}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := decodeOutput(body); err == nil {
			if r.offset < 0 || r.stream != "stdout" && r.stream != "stderr" {
				t.Errorf("%q: got %+v", body, r)
			}
		}
		if r, err := decodeEvents(body); err == nil {
			if again, err := parsePosition(r.after.String()); err != nil || again != r.after {
				t.Errorf("%q: got %+v, %v", body, r, err)
			}
		}
	})
}

// A silent answer has a comment every 15 seconds.
func TestEvents_IdleComment(t *testing.T) {
	var sent strings.Builder
	w := &frameWriter{send: func(piece []byte, _ bool) error { sent.Write(piece); return nil }}
	e := eventWriter{w: w, sent: time.Now().Add(-idleComment)}
	if e.idle(); w.Flush() != nil || sent.String() != ": the job has not ended\n\n" {
		t.Errorf("after 15 s: got %q, want a comment", sent.String())
	}
	if e.idle(); w.Flush() != nil || strings.Count(sent.String(), ":") != 1 {
		t.Errorf("at once again: got %q, want nothing more", sent.String())
	}
}
