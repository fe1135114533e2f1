package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMetrics_WithoutTheirSocket(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.exchange("GET /metrics HTTP/1.1\r\nHost: sidecar\r\n\r\n").wantRefusal(t, 401, "must be signed")
	d.send(d.sign("GET", "/metrics", "")).wantRefusal(t, 404, "")
	if strings.Contains(d.log(), "metrics") {
		t.Errorf("the log speaks of them:\n%s", d.log())
	}
}

func TestMetrics_SocketServesNothingElse(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	d.configure(strconv.Quote(testKey), fmt.Sprintf("BIND = %q", d.address))
	ordinary, _ := listeningFile(t, "tcp", d.address)
	forMetrics, address := listeningFile(t, "tcp", "127.0.0.1:0")
	second, path := listeningFile(t, "unix", filepath.Join(sharedDir(t), "metrics.sock"))
	d.launchWithNamedSockets([]*os.File{forMetrics, ordinary, second}, "metrics:dataflux-func-sidecar.socket:metrics")
	d.awaitLog("Ready: ")
	if log := d.log(); strings.Contains(log, "differ from BIND") || !strings.Contains(log, fmt.Sprintf("listening on %s (metrics on %s,%s)", d.address, address, path)) {
		t.Errorf("the log says\n%s", log)
	}
	d.metrics = address
	if a := d.run("echo served"); a.Data.Stdout != "served\n" || d.scrape()["requests_total{status=200}"] != 1 {
		t.Errorf("got %s and %v", a.body, d.scrape())
	}
	conn, err := dialUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if a := d.newWire(conn).put("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.status != 200 {
		t.Errorf("over a Unix socket: %d %s", a.status, a.body)
	}
	command := d.sign("POST", "/shell", `{"command":"true"}`)
	d.address = address
	d.send(command).wantRefusal(t, 404, "/metrics")
}

func TestMetrics_UselessSocketsAreRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	d.environment = []string{"NOTIFY_SOCKET="} // under systemd the daemon opens the addresses of BIND
	file, _ := listeningFile(t, "tcp", d.address)
	for want, start := range map[string]func(){
		"but those for metrics":         func() { d.launchWithNamedSockets([]*os.File{file}, "metrics") },
		"write METRICS_BIND":            func() { d.launchWithSockets([]*os.File{file}, "--metrics", "127.0.0.1:1") },
		"--metrics: ":                   func() { d.address, d.metrics = strings.Replace(d.address, ":8099", ":8098", 1), "nonsense"; d.launch() },
		"by hand with --bind ADDRESSES": func() { d.launchWithSockets(nil, "--metrics", "127.0.0.1:1") },
	} {
		start()
		d.awaitEnd()
		if d.state.ExitCode() != 1 || !strings.Contains(d.log(), want) {
			t.Errorf("%v, without %q:\n%s", d.state, want, d.log())
		}
	}
}

func TestMetrics_PlainWithTLS(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	d.metrics = strings.Replace(d.address, ":8099", ":18099", 1)
	d.start()
	if a := d.tlsShell(c, "echo served"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	d.awaitLog("listening on " + d.address + " (TLS on " + d.address + ") (metrics on " + d.metrics + ")")
	d.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").wantRefusal(t, 400, "https")
	d.awaitSample(`requests_total{status="400"} 1`)
	if n := d.scrape()["requests_total{status=200}"]; n != 1 {
		t.Errorf("%v calls over TLS are counted", n)
	}
}
