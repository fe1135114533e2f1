package executor

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// example is a page with everything that a page can have.
func example() *metricsPage {
	var single counter
	single.add(1<<63 + 1) // exact, which a floating-point number would not be
	byStatus := newLabelledCounter("status", "200", `a"b\c`+"\nd")
	byStatus.add(0, 2)
	byStatus.add(0, 1)
	durations := newHistogram(10*time.Millisecond, time.Second)
	for _, d := range []time.Duration{
		10 * time.Millisecond, 10*time.Millisecond + 1, time.Second, time.Minute,
	} {
		durations.observe(d)
	}
	var p metricsPage
	p.counter("single_total", "One counter.", &single)
	p.labelledCounter("requests_total", "A backslash \\ and\na second line.", byStatus)
	p.gauge("running", "Now.", 2.5)
	p.info("build_info", "The version.", "version", "1.0.0")
	p.histogram("duration_seconds", "How long.", durations)
	return &p
}

const written = `# HELP single_total One counter.
# TYPE single_total counter
single_total 9223372036854775809
# HELP requests_total A backslash \\ and\na second line.
# TYPE requests_total counter
requests_total{status="200"} 3
requests_total{status="a\"b\\c\nd"} 0
# HELP running Now.
# TYPE running gauge
running 2.5
# HELP build_info The version.
# TYPE build_info gauge
build_info{version="1.0.0"} 1
# HELP duration_seconds How long.
# TYPE duration_seconds histogram
duration_seconds_bucket{le="0.01"} 1
duration_seconds_bucket{le="1"} 3
duration_seconds_bucket{le="+Inf"} 4
duration_seconds_sum 61.020000001
duration_seconds_count 4
`

func TestMetricsPage_Format(t *testing.T) {
	if got := string(example().text); got != written {
		t.Errorf("got\n%s\nwant\n%s", got, written)
	}
}

// The parser is that of the Prometheus project's own client for Python.
func TestMetricsPage_ReadByPrometheusClient(t *testing.T) {
	const script = `
import sys
from prometheus_client.parser import text_string_to_metric_families as families
for f in families(sys.stdin.read()):
    for s in f.samples:
        print(f.type, f.documentation.encode(), s.name, sorted(s.labels.items()), s.value)
`
	const python = "/usr/bin/python3" // Debian's, whichever comes first in PATH
	// The reaper of a rig would take a child without a group of its own.
	own := &syscall.SysProcAttr{Setpgid: true}
	finder := exec.Command(python, "-c", "import prometheus_client")
	finder.SysProcAttr = own
	need(t, finder.Run() == nil,
		"there is no Python with prometheus_client (Debian: python3-prometheus-client)")
	parser := exec.Command(python, "-c", script)
	parser.SysProcAttr = own
	parser.Stdin = strings.NewReader(string(example().text))
	out, err := parser.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{
		`counter b'A backslash \\ and\na second line.' requests_total [('status', '200')] 3.0`,
		`counter b'A backslash \\ and\na second line.' requests_total [('status', 'a"b\\c\nd')] 0.0`,
		`gauge b'Now.' running [] 2.5`,
		`gauge b'The version.' build_info [('version', '1.0.0')] 1.0`,
		`histogram b'How long.' duration_seconds_bucket [('le', '+Inf')] 4.0`,
		`histogram b'How long.' duration_seconds_sum [] 61.020000001`,
	} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("no line %s in\n%s", line, out)
		}
	}
}

// need skips a test that this host cannot run, and fails it where nothing may be skipped.
func need(t *testing.T, met bool, why string) {
	t.Helper()
	if met {
		return
	}
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func TestMetrics_ConcurrentCounting(t *testing.T) {
	var total counter
	durations := newHistogram(time.Second)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				total.add(1)
				durations.observe(2 * time.Second)
			}
		})
	}
	all.Wait()
	var p metricsPage
	p.counter("c", "", &total)
	p.histogram("h", "", durations)
	for _, line := range []string{"c 8000", `h_bucket{le="1"} 0`, "h_sum 16000", "h_count 8000"} {
		if !strings.Contains(string(p.text), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, p.text)
		}
	}
}

func TestMetrics_AllocateNothing(t *testing.T) {
	counters, durations := newLabelledCounter("l", "a", "b"), newHistogram(time.Millisecond,
		time.Second)
	if n := testing.AllocsPerRun(100, func() {
		counters.add(1, 1)
		durations.observe(time.Minute)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
