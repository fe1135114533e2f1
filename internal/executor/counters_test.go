package executor

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

func newRigWithMetrics(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(o *Options) { o.Limits.MetricsSockets, o.Version = 1, "9.8.7" })
}

// scrape returns the page, which must come in one frame.
func (r *rig) scrape() string {
	r.t.Helper()
	r.last++
	r.send(message.Frame{Kind: message.Scrape, ID: r.last})
	f := r.receive()
	head, err := message.DecodeHead(f.Payload)
	if err != nil || f.Kind != message.Answer || f.ID != r.last || !f.Last || head.Status != 200 ||
		head.ContentType != metricsType || head.Length != int64(len(head.Body)) {
		r.t.Fatalf("kind %d, id %d, last %t, %d %q, %v", f.Kind, f.ID, f.Last, head.Status,
			head.ContentType, err)
	}
	return string(head.Body)
}

func wantLines(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains("\n"+page, "\ndataflux_func_sidecar_"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, page)
		}
	}
}

func TestScrape_CountsWhatWasAnsweredBefore(t *testing.T) {
	r := newRigWithMetrics(t)
	began := time.Now()
	r.shell(`{"command":"echo 12345; exit 1"}`)
	page := r.scrape()
	wantLines(t, page, `build_info{version="9.8.7"}`+" 1", `requests_total{status="200"} 1`,
		`commands_total{result="failed"} 1`,
		"command_duration_seconds_count 1", `output_bytes_total{stream="stdout"} 6`, "commands_running 0",
		"nonces 1", "network_role_starts_total 1")
	var started float64
	_, line, _ := strings.Cut(page, "\ndataflux_func_sidecar_start_time_seconds ")
	if _, err := fmt.Sscan(line, &started); err != nil ||
		began.Sub(time.UnixMilli(int64(started*1e3))).Abs() > time.Minute {
		t.Errorf("started at %f, %v", started, err)
	}
	if again := r.scrape(); again != page {
		t.Errorf("a scrape changed what the next one tells:\n%s\n%s", page, again)
	}
}

func TestScrape_RefusalsOfTheNetworkRole(t *testing.T) {
	r := newRigWithMetrics(t)
	for _, refusal := range []message.Refusal{
		{Status: 401, Count: 7},
		{Status: 401, Count: 2},
		{Status: 418, Count: 3},
		{Status: 65535, Count: 1<<32 - 1},
		{Status: 0, Count: 1},
	} {
		r.send(message.Frame{Kind: message.Refused, Payload: refusal.Encode()})
	}
	page := r.scrape()
	wantLines(t, page, `requests_total{status="401"} 9`,
		`requests_total{status="other"} 4294967299`, `requests_total{status="none"} 0`)
	if n := strings.Count(page, "requests_total{"); n != len(newCounters("").statuses)+2 {
		t.Errorf("%d statuses are told of:\n%s", n, page)
	}
}

func TestScrape_CallerHungUp(t *testing.T) {
	r := newRigWithMetrics(t)
	id := r.request(`{"command":"sleep 0.2"}`)
	r.send(message.Frame{Kind: message.Hangup, ID: id})
	for deadline := time.Now().Add(20 * time.Second); r.finished() == 0 &&
		time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	_ = r.executor.Wait(t.Context())
	wantLines(t, r.scrape(), `requests_total{status="none"} 1`, `requests_total{status="200"} 0`,
		`commands_total{result="succeeded"} 1`)
}

func TestScrape_TooManyAtOnceEndTheRole(t *testing.T) {
	r := newRigWithMetrics(t)
	r.executor.jobs.mu.Lock() // so that no page can be finished
	for id := range uint64(message.MaxScrapes + 1) {
		_ = r.network.Send(message.Frame{Kind: message.Scrape, ID: id + 1})
	}
	err := <-r.ended
	r.executor.jobs.mu.Unlock()
	if !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

func TestScrape_MakesRoomForTheNext(t *testing.T) {
	r := newRigWithMetrics(t)
	for range 1000 {
		r.scrape()
	}
}

func TestCounters_EachResult(t *testing.T) {
	for want, r := range map[int]*exec.Result{
		commandSucceeded: {}, commandTimedOut: {Ended: exec.TimedOut},
		commandCancelled: {Ended: exec.Cancelled, Signal: 9},
		commandStopped:   {Ended: exec.Stopped}, commandFailed: {ExitCode: -1, Signal: 9},
	} {
		if got := commandResult(r); got != want {
			t.Errorf("ended %s, signal %d: %d, want %d", r.Ended, r.Signal, got, want)
		}
	}
	if got := commandResult(&exec.Result{ExitCode: 255}); got != commandFailed {
		t.Errorf("exit status 255: %d", got)
	}
}

func TestCounters_AllocateNothing(t *testing.T) {
	counts, result := newCounters("1"), &exec.Result{}
	if n := testing.AllocsPerRun(100, func() {
		counts.answered(200, 1)
		counts.finished(result)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCounters(b *testing.B) {
	counts, result := newCounters("1"), &exec.Result{}
	for b.Loop() {
		counts.answered(200, 1)
		counts.finished(result)
	}
}

// The table in docs/operations.md is what the page says of itself.
func TestScrape_MatchesTheDocuments(t *testing.T) {
	document, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	want := tableOf(newRigWithMetrics(t).scrape())
	_, got, _ := strings.Cut(string(document),
		"| metric | type | labels | tells |\n|---|---|---|---|\n")
	if got, _, _ = strings.Cut(got, "\n\n"); got != want {
		t.Errorf("docs/operations.md has\n%s\nthe page is\n%s", got, want)
	}
}

// tableOf makes a row of each family, with the values that its label has.
func tableOf(page string) string {
	const begin = "# HELP dataflux_func_sidecar_"
	var rows []string
	for family := range strings.SplitSeq(strings.TrimPrefix(page, begin), begin) {
		name, rest, _ := strings.Cut(family, " ")
		help, rest, _ := strings.Cut(rest, "\n# TYPE dataflux_func_sidecar_"+name+" ")
		kind, samples, _ := strings.Cut(rest, "\n")
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", name, kind, labelsOf(samples),
			help))
	}
	return strings.Join(rows, "\n")
}

// labelsOf leaves out the bounds of buckets and what the version is.
func labelsOf(samples string) string {
	var values []string
	found := regexp.MustCompile(`\{(.+)="(.+)"\}`).FindAllStringSubmatch(samples, -1)
	if len(found) == 0 || found[0][1] == "le" {
		return "-"
	}
	label := "`" + found[0][1] + "`"
	if label == "`version`" {
		return label
	}
	for _, match := range found {
		values = append(values, "`"+match[2]+"`")
	}
	return label + ": " + strings.Join(values, ", ")
}
