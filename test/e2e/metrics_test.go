package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	metricsAddress = "127.0.0.1:18099"
	switchOn       = "systemctl enable " + metrics + " && systemctl restart dataflux-func-sidecar"
	switchOff      = "systemctl disable --now " + metrics + " && systemctl restart dataflux-func-sidecar"
)

// One machine switches metrics on and off again, because each step starts from the state of the
// step before.
func TestEveryHost_MetricsOnAndOff(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	before := m.remains()
	m.install("--bind", defaultAddress)
	m.checkNoMetrics()
	if enabled, _ := m.try("systemctl", "is-enabled", metrics); enabled != "disabled" {
		t.Errorf("%s is %s after the installation", metrics, enabled)
	}

	m.underLoad(switchOn)
	m.checkMetrics(metricsAddress)
	m.checkSocketsAreApart()
	m.checkMetricsComeAndGoWithTheService()
	m.reboot()
	m.checkMetrics(metricsAddress)
	m.install() // as an upgrade does
	m.checkMetrics(metricsAddress)
	m.checkMetricsMove()

	m.underLoad(switchOff)
	m.checkNoMetrics()
	m.run("systemctl", "restart", service)
	m.checkNoMetrics()

	if out, status := m.try("systemctl", "enable", "--now", metrics); status == 0 { // if this works, the documents need no restart
		t.Errorf("a socket of a service that runs could be started: %s", out)
	}
	m.run("systemctl", "restart", service)
	m.checkMetrics(metricsAddress)
	m.write("/etc/systemd/system/"+metrics+".d/override.conf", "[Socket]\nBacklog=16\n")
	m.run("systemctl", "disable", "--now", metrics)
	m.checkMetricsBind()
	m.uninstall("--purge")
	m.checkNoMetrics()
	if changed := difference(before, m.remains()); changed != "" {
		t.Errorf("bare again, but for\n%s", changed)
	}
}

// underLoad runs a script during calls, none of which may be lost.
func (m *machine) underLoad(script string) {
	m.t.Helper()
	load := m.startLoad(4)
	m.eventually("the load is on", func() bool { return load.answered.Load() > 20 })
	m.sh(script)
	before := load.answered.Load()
	m.eventually("it goes on", func() bool { return load.answered.Load() > before+20 })
	load.stop(m.t)
}

// checkMetrics scrapes.
func (m *machine) checkMetrics(address string) {
	m.t.Helper()
	page := m.run("curl", "-sS", "--max-time", "20", "http://"+address+"/metrics")
	for _, part := range []string{"dataflux_func_sidecar_build_info{version=\"", "\ndataflux_func_sidecar_network_role_starts_total "} {
		if !strings.Contains(page, part) {
			m.t.Errorf("no %q in\n%s", part, page)
		}
	}
	if m.network() == "" || m.run("sh", "-c", "grep Seccomp: /proc/"+m.network()+"/status") != "Seccomp:\t2" {
		m.t.Error("the network role is not confined")
	}
}

func (m *machine) checkNoMetrics() {
	m.t.Helper()
	m.eventually(metricsAddress+" is closed", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := m.dial(ctx, "tcp", metricsAddress)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil && strings.Contains(err.Error(), "connection refused")
	})
}

// checkSocketsAreApart checks that an address of metrics serves no commands, and the reverse.
func (m *machine) checkSocketsAreApart() {
	m.t.Helper()
	status, answer, err := m.client(metricsAddress).post(map[string]any{"command": "true"})
	if status != http.StatusNotFound || err != nil {
		m.t.Errorf("a command on the address of the metrics: %d %+v %v", status, answer, err)
	}
	if status, text, err := m.client(defaultAddress).signedGet("/metrics"); status != http.StatusNotFound || err != nil {
		m.t.Errorf("metrics on an address of BIND: %d %s %v", status, text, err)
	}
	m.wantWell("with metrics")
}

func (m *machine) checkMetricsComeAndGoWithTheService() {
	m.t.Helper()
	const sockets = `ss -H -l -t -n -e | grep -o '127[^ ]*:18099 .*ino:[0-9]*' | sed 's/ .* / /'`
	before := m.sh(sockets)
	m.run("systemctl", "restart", service)
	m.checkMetrics(metricsAddress)
	if after := m.sh(sockets); after != before || before == "" {
		m.t.Errorf("over a restart the socket was %q and is %q", before, after)
	}
	m.run("kill", "-9", m.executor())
	m.checkAnswersSoon(defaultAddress)
	m.checkMetrics(metricsAddress)
	for range 8 { // repeated, because no step of a stop may affect the next start
		m.run("systemctl", "stop", service)
		m.run("systemctl", "start", service)
	}
	m.checkMetrics(metricsAddress)
	m.run("systemctl", "stop", service)
	m.checkRefuses(defaultAddress)
	m.checkNoMetrics()
	for _, unit := range []string{service, socket, metrics} {
		if state := m.state(unit); state != "inactive" {
			m.t.Errorf("after a stop %s is %s", unit, state)
		}
	}
	m.run("systemctl", "start", service)
	m.checkAnswers(defaultAddress)
	m.checkMetrics(metricsAddress)
}

// checkMetricsMove changes the address as the documents say, and back.
func (m *machine) checkMetricsMove() {
	m.t.Helper()
	const apply = "systemctl daemon-reload; systemctl stop " + metrics + " && systemctl restart dataflux-func-sidecar"
	m.write("/etc/systemd/system/"+metrics+".d/override.conf", "[Socket]\nListenStream=\nListenStream=/run/sidecar-metrics.sock\n")
	m.sh(apply)
	page := m.run("curl", "-sS", "--max-time", "20", "--unix-socket", "/run/sidecar-metrics.sock", "http://localhost/metrics")
	if !strings.Contains(page, "dataflux_func_sidecar_build_info") {
		m.t.Errorf("over a Unix socket:\n%s", page)
	}
	m.checkNoMetrics()
	m.sh("rm -r /etc/systemd/system/" + metrics + ".d; " + apply)
	m.checkMetrics(metricsAddress)
}

// checkMetricsBind serves metrics by a line of the configuration, and gives a stop more time.
func (m *machine) checkMetricsBind() {
	m.t.Helper()
	stopTime := func() string { return m.run("systemctl", "show", "--value", "-p", "TimeoutStopUSec", service) }
	apply := func(want string) {
		m.t.Helper()
		for _, want := range []string{want, "nothing to do"} {
			if said := m.run(strings.Fields(applyCommand)...); !strings.Contains(said, want) {
				m.t.Errorf("it does not say %q:\n%s", want, said)
			}
		}
	}
	m.run("systemctl", "restart", service)
	m.sh("cp -p " + configuration + " /tmp/before; echo 'METRICS_BIND = \"" + metricsAddress + "\"' >>" + configuration)
	if said, status := m.try("dataflux-func-sidecar", "reload"); status != 1 || !strings.Contains(said, "cannot reload METRICS_BIND") {
		m.t.Errorf("reload: status %d, want 1:\n%s", status, said)
	}
	m.checkNoMetrics()
	m.run("systemctl", "stop", service)
	m.occupy("foreign", "s = socket.create_server(('127.0.0.1', 18099))")
	m.run("systemctl", "start", service)
	executor := m.executor()
	apply("no metrics are served at " + metricsAddress + ", which another process has")
	if now := m.executor(); now != executor {
		m.t.Errorf("a restart for an address that it cannot open: executor %s, want %s", now, executor)
	}
	m.vacate("foreign")
	apply("METRICS_BIND is not open")
	m.checkMetrics(metricsAddress)
	m.checkSocketsAreApart()

	m.sh("echo 'DRAIN_TIMEOUT = \"2m\"' >>" + configuration + "; systemctl restart " + service)
	m.checkMetrics(metricsAddress)
	if got := stopTime(); got != "2min 30s" {
		m.t.Errorf("after a restart a stop may take %s, want 2min 30s", got)
	}
	m.sh("cp -p /tmp/before " + configuration + "; touch " + configuration)
	apply("no longer configured")
	m.checkNoMetrics()
	if got := stopTime(); got != "1min" {
		m.t.Errorf("after configure a stop may take %s, want 1min", got)
	}
	m.sh("echo 'DRAIN_TIMEOUT = \"2m\"' >>" + configuration) // the removal leaves nothing of it
	apply("changed since the service has read it")
	if got := stopTime(); got != "2min 30s" {
		m.t.Errorf("after configure --apply a stop may take %s, want 2min 30s", got)
	}
}
