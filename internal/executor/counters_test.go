package executor

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
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
	if n := strings.Count(page, "requests_total{"); n != len(newCounters("", configured{}).statuses)+2 {
		t.Errorf("%d statuses are told of:\n%s", n, page)
	}
}

func TestScrape_CallerHungUp(t *testing.T) {
	r := newRigWithMetrics(t)
	id := r.request(`{"command":"sleep 0.2"}`)
	r.send(message.Frame{Kind: message.Hangup, ID: id})
	waitFor(t, func() bool { return r.finished() > 0 })
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
	counts, result := newCounters("1", configured{actions: []string{"deploy"}}), &exec.Result{}
	if n := testing.AllocsPerRun(100, func() {
		counts.answered(200, 1)
		counts.finished("deploy", result)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCounters(b *testing.B) {
	counts, result := newCounters("1", configured{}), &exec.Result{}
	for b.Loop() {
		counts.answered(200, 1)
		counts.finished("deploy", result)
	}
}

// newRigWithEachMetric has a key that expires, a certificate and an action.
func newRigWithEachMetric(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(o *Options) {
		o.Limits.MetricsSockets = 1
		o.CertificateExpiry = time.Unix(1800000000, 0)
		o.Policy = policy.New([]policy.Key{
			policy.Default(), {Name: "endless"}, {Name: "deploy", Expires: time.Unix(1900000000, 5e8)},
		}, []policy.Action{{Name: "greet", Text: "exit $CODE", Variables: []policy.Variable{
			{Name: "CODE", Default: "0", HasDefault: true, Pattern: mustPattern(t, "[0-9]")},
		}}})
	})
}

func mustPattern(t *testing.T, text string) policy.Pattern {
	t.Helper()
	p, err := policy.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScrape_Configuration(t *testing.T) {
	r := newRigWithEachMetric(t)
	page := r.scrape()
	wantLines(t, page, "tls_certificate_expiry_timestamp_seconds 1.8e+09",
		`key_expiry_timestamp_seconds{key="deploy"} 1.9000000005e+09`,
		"commands_running_limit 50", "commands_queued_limit 0", "output_limit_bytes 8.388608e+06",
		"callbacks_pending_limit 50", "nonces_limit 10000", "state_bytes 0",
		fmt.Sprintf("state_limit_bytes %v", formatFloat(16<<20/4*3-1<<20)))
	for _, absent := range []string{"endless", `key="default"`} {
		if strings.Contains(page, absent) {
			t.Errorf("got %s in\n%s", absent, page)
		}
	}
	page = newRigWithMetrics(t).scrape()
	for _, family := range []string{"tls_certificate", "key_expiry", "actions_total"} {
		if strings.Contains(page, family) {
			t.Errorf("without TLS, keys and actions: got %s in\n%s", family, page)
		}
	}
}

// The results of an action are counted by its name, among all commands, and over reloads.
func TestScrape_Actions(t *testing.T) {
	r := newRigWithEachMetric(t)
	r.shell(`{"action":"greet"}`)
	r.shell(`{"action":"greet","envs":{"CODE":"3"}}`)
	r.shell(`{"command":"exit 3"}`)
	page := r.scrape()
	wantLines(t, page, `actions_total{action="greet",result="succeeded"} 1`,
		`actions_total{action="greet",result="failed"} 1`,
		`actions_total{action="greet",result="not_started"} 0`,
		`commands_total{result="failed"} 2`, `commands_total{result="succeeded"} 1`)

	r.reload(nil)
	r.shell(`{"action":"greet"}`)
	wantLines(t, r.scrape(), `actions_total{action="greet",result="succeeded"} 2`,
		`actions_total{action="greet",result="failed"} 1`, `reloads_total{result="succeeded"} 1`)
	r.reload(func(o *Options) { o.Policy = policy.New([]policy.Key{policy.Default()}, nil) })
	if page := r.scrape(); strings.Contains(page, "greet") {
		t.Errorf("a removed action is told of:\n%s", page)
	}
}

func TestScrape_Reloads(t *testing.T) {
	r := newRigWithMetrics(t)
	loaded := func() (seconds float64) {
		_, line, _ := strings.Cut(r.scrape(), "\ndataflux_func_sidecar_config_last_reload_success_timestamp_seconds ")
		if _, err := fmt.Sscan(line, &seconds); err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	wantLines(t, r.scrape(), `reloads_total{result="succeeded"} 0`, `reloads_total{result="refused"} 0`)
	r.executor.CountRefusedReload()
	began := loaded()
	r.executor.counters.loaded = r.executor.counters.loaded.Add(-time.Hour)
	r.reload(nil)
	r.reload(nil)
	wantLines(t, r.scrape(), `reloads_total{result="succeeded"} 2`, `reloads_total{result="refused"} 1`)
	if after := loaded(); after < began {
		t.Errorf("the last reload was at %f, want %f or later", after, began)
	}
}

// The page of the largest configuration, with the largest counts, needs no credit.
func TestScrape_LargestPage(t *testing.T) {
	long := func(i int) string { return fmt.Sprintf("%032d", i) }
	c := configured{certificate: time.Unix(1<<40, 0), maxState: 1 << 60, maxOutput: 1 << 60}
	for i := range 200 {
		c.actions = append(c.actions, long(i))
	}
	for i := range 100 {
		c.keys = append(c.keys, keyExpiry{long(i), time.Unix(1<<40+1, 123456789)})
	}
	counts := newCounters("1.2.3", c)
	for _, action := range counts.actions {
		for result := range action.counts {
			action.add(result, 1<<64-1)
		}
	}
	page := counts.page(gauges{state: 1 << 60})
	if n := strings.Count(string(page), "\n"); len(page) > message.Window || n < 200*6+100 {
		t.Errorf("got %d bytes in %d lines, want at most %d bytes", len(page), n, message.Window)
	}
}

// The table in docs/operations.md is what the page says of itself.
func TestScrape_MatchesTheDocuments(t *testing.T) {
	document, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	want := tableOf(newRigWithEachMetric(t).scrape())
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

// labelsOf leaves out the bounds of buckets, and the values that the program does not choose.
func labelsOf(samples string) string {
	var labels []string
	values := map[string][]string{}
	for _, match := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(samples, -1) {
		label, value := match[1], "`"+match[2]+"`"
		if values[label] == nil {
			labels = append(labels, label)
		}
		if !slices.Contains(values[label], value) {
			values[label] = append(values[label], value)
		}
	}
	if len(labels) == 0 || labels[0] == "le" {
		return "-"
	}
	for i, label := range labels {
		labels[i] = "`" + label + "`"
		if !slices.Contains([]string{"version", "key", "action"}, label) {
			labels[i] += ": " + strings.Join(values[label], ", ")
		}
	}
	return strings.Join(labels, "; ")
}
