package system

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// samples maps each series of a page, without the common prefix of the names, to its value.
type samples map[string]float64

// scrape parses the page with the Python client of the Prometheus project.
func (d *daemon) scrape() samples {
	d.t.Helper()
	const script = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
found = {}
for family in families(sys.stdin.read()):
    assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
    for s in family.samples:
        labels = "{" + ",".join(k + "=" + v for k, v in sorted(s.labels.items())) + "}" if s.labels else ""
        series = s.name.removeprefix("dataflux_func_sidecar_") + labels
        assert s.name != series and series not in found, series
        found[series] = s.value
json.dump(found, sys.stdout)
`
	const python = "/usr/bin/python3" // Debian's, even if PATH has another one first
	err := exec.Command(python, "-c", "import prometheus_client").Run()
	testkit.Need(d.t, err == nil, "there is no Python with prometheus_client (Debian: python3-prometheus-client)")
	parser := exec.Command(python, "-c", script)
	parser.Stdin, parser.Stderr = strings.NewReader(d.page()), os.Stderr
	out, err := parser.Output()
	var found samples
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		d.t.Fatalf("cannot read the page: %v", err)
	}
	return found
}

func (d *daemon) page() string {
	d.t.Helper()
	response, err := http.Get("http://" + d.metrics + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		d.t.Fatalf("%v: %d %s", err, response.StatusCode, response.Header)
	}
	return string(text)
}

// since returns the changes, without the series that depend on the speed of the host.
func (after samples) since(before samples) samples {
	changed := samples{}
	for series, value := range after {
		timing := strings.HasPrefix(series, "command_duration_seconds_bucket{") && !strings.Contains(series, "+Inf") || series == "command_duration_seconds_sum"
		if value != before[series] && !timing && series != "nonces" && series != "state_bytes" {
			changed[series] = value - before[series]
		}
	}
	return changed
}

func (d *daemon) awaitSample(line string) {
	d.t.Helper()
	d.eventually(line, func() bool { return strings.Contains(d.page(), "\ndataflux_func_sidecar_"+line+"\n") })
}

func startDaemonWithMetrics(t *testing.T, lines ...string) *daemon {
	t.Helper()
	d := newDaemon(t, strconv.Quote(testKey), lines...)
	d.metrics = strings.Replace(d.address, ":8099", ":18099", 1)
	d.start()
	return d
}

// canary is part of every text that a caller chooses.
const canary = "canary"

// Each outcome occurs once, or in a distinct number, and the counters show exactly these numbers.
// No text of a caller is on the page, and no call adds a series.
func TestMetrics_EachOutcomeCountedOnce(t *testing.T) {
	t.Parallel()
	d := startDaemonWithMetrics(t, "MAX_OUTPUT = 1024", "MAX_BODY = 4096", "MAX_RUNNING = 1", "MAX_QUEUED = 1", `KILL_GRACE = "200ms"`)
	before := d.scrape()
	d.endInEachWay()
	d.fillTheQueue()
	d.beRefused()
	d.callBack(t)
	d.hangUp()
	d.awaitSample(`requests_total{status="415"} 1`) // the network role has reported its refusals
	after := d.scrape()
	want := samples{
		"requests_total{status=200}": 5 + 4 + 1, "requests_total{status=400}": 2, "requests_total{status=401}": 2 + 2,
		"requests_total{status=404}": 1, "requests_total{status=405}": 1 + 1, "requests_total{status=409}": 1,
		"requests_total{status=413}": 1, "requests_total{status=415}": 1, "requests_total{status=503}": 1, "requests_total{status=none}": 1,
		"commands_total{result=succeeded}": 2 + 1 + 1, "commands_total{result=failed}": 2, "commands_total{result=timed_out}": 1,
		"commands_total{result=cancelled}": 1, "commands_total{result=not_started}": 2,
		"command_duration_seconds_count": 8, "command_duration_seconds_bucket{le=+Inf}": 8,
		"output_bytes_total{stream=stdout}": 7 + 3, "output_bytes_total{stream=stderr}": 3000, "output_cut_bytes_total{stream=stderr}": 3000 - 1024,
		"callbacks_total{result=delivered}": 1, "callback_failures_total": 1,
	}
	if got := after.since(before); !maps.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if page := d.page(); strings.Contains(strings.ToLower(page), canary) {
		t.Errorf("what a caller chose is told:\n%s", page)
	}
	if had, has := slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)); !slices.Equal(had, has) {
		t.Errorf("the series were\n%s\nand are\n%s", had, has)
	}
}

func (d *daemon) endInEachWay() {
	d.t.Helper()
	d.shell(fields{
		"command": "echo " + canary, "workdir": "/", "jobId": canary + "-job",
		"envs": fields{"CANARY": canary},
	})
	d.run("exit 3 # " + canary)
	d.run("kill -KILL $$")
	d.shell(fields{"command": "sleep 60; " + canary, "timeout": 0.2})
	d.run("head -c 3000 /dev/zero >&2")
}

func (d *daemon) fillTheQueue() {
	d.t.Helper()
	for _, job := range []string{canary + "-running", canary + "-waiting"} {
		d.shell(fields{"command": "sleep 60", "wait": false, "jobId": job})
	}
	d.try200(fields{"command": "true"}).wantRefusal(d.t, 503, "MAX_QUEUED")
	if now := d.scrape(); now["commands_running"] != 1 || now["commands_queued"] != 1 {
		d.t.Errorf("%v run and %v wait", now["commands_running"], now["commands_queued"])
	}
	for _, job := range []string{canary + "-waiting", canary + "-running"} {
		if a := d.send(d.sign("DELETE", "/jobs/"+job, "")); a.status != 200 {
			d.t.Errorf("cancel: %d %s", a.status, a.body)
		}
	}
	d.awaitSample("commands_running 0")
	d.awaitSample("commands_queued 0")
	d.try200(fields{"command": "sleep 60", "jobId": canary + "-waiting"}).wantRefusal(d.t, 409, "cancelled")
}

func (d *daemon) beRefused() {
	d.t.Helper()
	d.try200(fields{canary: canary}).wantRefusal(d.t, 400, "unknown key")
	d.try200(fields{"command": "true", "workdir": "/" + canary}).wantRefusal(d.t, 400, "/"+canary)
	d.send(d.sign("GET", "/"+canary, "")).wantRefusal(d.t, 404, "")
	d.send(d.sign("CANARY", "/shell", "")).wantRefusal(d.t, 405, "")
	d.exchange("CANARY / HTTP/1.1\r\nHost: canary\r\nContent-Length: 0\r\n\r\n").wantRefusal(d.t, 405, "") // by the network role
	replayed := d.sign("POST", "/shell", "{}")
	replayed.nonce = "canary-nonce"
	d.send(replayed).wantRefusal(d.t, 401, "signature")
	d.send(replayed).wantRefusal(d.t, 401, "signature")
	for range 2 { // by the network role, before it reads a body
		d.exchange("GET /canary?canary HTTP/1.1\r\nHost: canary\r\nUser-Agent: canary\r\n\r\n").wantRefusal(d.t, 401, "must be signed")
	}
	d.send(d.sign("POST", "/shell", strings.Repeat(canary, 1000))).wantRefusal(d.t, 413, "")
	d.exchange(d.sign("POST", "/shell", "{}").raw("Content-Encoding: canary")).wantRefusal(d.t, 415, "")
}

func (d *daemon) callBack(t *testing.T) {
	d.t.Helper()
	looked := make(chan struct{}) // the second attempt is answered only after this
	look := sync.OnceFunc(func() { close(looked) })
	defer look()
	v := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			http.Error(w, canary, http.StatusBadGateway)
			return
		}
		<-looked
	})
	d.shell(fields{"command": "echo ok", "callbackURL": strings.Replace(v.URL, "://", "://canary:canary@", 1) + "/canary?canary=canary"})
	if pending := d.scrape()["callbacks_pending"]; pending != 1 {
		t.Errorf("%v callbacks are pending, want 1", pending)
	}
	look()
	d.awaitSample("callbacks_pending 0")
}

// hangUp disconnects before the answer.
func (d *daemon) hangUp() {
	d.t.Helper()
	w := d.dial().put(d.sign("POST", "/shell", `{"command":"sleep 1; : canary-left"}`).raw())
	d.awaitLog("canary-left")
	_ = w.Close()
	d.awaitSample(`requests_total{status="none"} 1`)
}

func TestMetrics_SurviveTheNetworkRole(t *testing.T) {
	t.Parallel()
	d := startDaemonWithMetrics(t)
	d.run("true")
	before, killed := d.scrape(), d.networkPID()
	d.signal(killed, syscall.SIGKILL)
	d.eventually("another role", func() bool { return d.networkPID() != killed })
	d.run("true")
	want := samples{
		"network_role_starts_total": 1, "requests_total{status=200}": 1, "commands_total{result=succeeded}": 1,
		"command_duration_seconds_count": 1, "command_duration_seconds_bucket{le=+Inf}": 1,
	}
	if got := d.scrape().since(before); !maps.Equal(got, want) || before["network_role_starts_total"] != 1 {
		t.Errorf("got %v, want %v", got, want)
	}
	if seccomp, err := statusOf(d.networkPID(), "Seccomp"); err != nil || seccomp != "2" {
		t.Errorf("the role that serves the metrics has seccomp %q, %v", seccomp, err)
	}
}
