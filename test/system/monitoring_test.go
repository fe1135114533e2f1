package system

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// These tests are about packaging/monitoring: alert rules for Prometheus and a dashboard for Grafana.

const monitoringFolder = "../../packaging/monitoring/"

func monitoringFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(monitoringFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	testkit.NeedTools(t, "promtool")
	cmd := exec.Command("promtool", args...)
	cmd.Dir, cmd.Stdin = monitoringFolder, strings.NewReader(stdin)
	if err := testkit.Explain(cmd); err != nil {
		t.Error(err)
	}
}

// Each alert fires in one of the unit tests, and stays quiet in another.
func TestMonitoring_Alerts(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "rules", "alerts.yaml")
	promtool(t, "", "test", "rules", "alerts_test.yaml")

	tested := map[string][]bool{}
	tests := regexp.MustCompile(`- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?\n`)
	for _, match := range tests.FindAllStringSubmatch(monitoringFile(t, "alerts_test.yaml"), -1) {
		tested[match[1]] = append(tested[match[1]], match[2] == "")
	}
	alerts := regexp.MustCompile(`- alert: (\w+)\n`).FindAllStringSubmatch(monitoringFile(t, "alerts.yaml"), -1)
	for _, match := range alerts {
		if fires := tested[match[1]]; !slices.Contains(fires, true) || !slices.Contains(fires, false) {
			t.Errorf("%s has tests in which it fires: %v, want one in which it does and one in which it does not", match[1], fires)
		}
	}
	if len(alerts) == 0 || len(tested) != len(alerts) {
		t.Errorf("got tests of %d alerts, want %d", len(tested), len(alerts))
	}
}

// expressions are the PromQL of the dashboard.
func dashboardExpressions(t *testing.T) (all []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query any }
		}
	}
	if err := json.Unmarshal([]byte(monitoringFile(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %s has no query", panel.Title)
		}
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

func TestMonitoring_DashboardIsPromQL(t *testing.T) {
	t.Parallel()
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, expression := range dashboardExpressions(t) {
		expression = strings.ReplaceAll(expression, "$__rate_interval", "5m")
		text, _ := json.Marshal(expression)
		rules += fmt.Sprintf("  - {record: expression_%d, expr: %s}\n", i, text)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", path)
}

// startDaemonWithEachMetric has TLS, a key that expires and an action.
func startDaemonWithEachMetric(t *testing.T, expires time.Time) (*daemon, *credential, []string) {
	t.Helper()
	d := newDaemon(t, strconv.Quote(testKey))
	host, _, _ := net.SplitHostPort(d.address)
	c := newCredential(t, time.Now().Add(1000*time.Hour), host)
	lines := c.lines(`BIND = "`+d.address+`"`, "MAX_RUNNING = 7", "[KEY.deploy]", `SECRET = "canary-deploy-0123456789"`,
		"EXPIRES = "+expires.UTC().Format(time.RFC3339), "[ACTION.greet]", `RUN = "echo hello"`)
	d.configure(strconv.Quote(testKey), lines...)
	d.metrics = strings.Replace(d.address, ":8099", ":18099", 1)
	d.start()
	return d, c, lines
}

var (
	metricInUse  = regexp.MustCompile(`dataflux_func_sidecar_(\w+)(?:\{([^}]*)\})?`)
	matcherInUse = regexp.MustCompile(`(\w+)(=~|!=|!~|=)\\?["']([^"'\\]*)\\?["']`)
)

// Every metric, label and value that the rules, their tests and the dashboard use is on the page of a
// daemon, whose format and names promtool accepts.
func TestMonitoring_MetricsExist(t *testing.T) {
	t.Parallel()
	d, _, _ := startDaemonWithEachMetric(t, time.Now().Add(time.Hour))
	page := d.page()
	promtool(t, page, "check", "metrics")
	series := map[string]string{} // the label sets of each metric
	for line := range strings.Lines(page) {
		if name, rest, found := strings.Cut(strings.TrimPrefix(line, "dataflux_func_sidecar_"), " "); found && line[0] != '#' {
			name, labels, _ := strings.Cut(name, "{")
			series[name] += labels + " " + rest
		}
	}
	texts := dashboardExpressions(t)
	texts = append(texts, monitoringFile(t, "alerts.yaml"), monitoringFile(t, "alerts_test.yaml"), monitoringFile(t, "dashboard.json"))
	uses := 0
	for _, use := range metricInUse.FindAllStringSubmatch(strings.Join(texts, "\n"), -1) {
		uses++
		labels, there := series[use[1]]
		if !there {
			t.Errorf("%s is not on the page", use[0])
		}
		for _, m := range matcherInUse.FindAllStringSubmatch(use[2], -1) {
			label, values := m[1], strings.Split(m[3], "|")
			if slices.Contains([]string{"job", "instance", "action", "key"}, label) {
				continue
			}
			for _, value := range values {
				if !strings.Contains(labels, label+`="`+value+`"`) {
					t.Errorf("%s: no series has %s=%q", use[0], label, value)
				}
			}
		}
	}
	if uses < 50 {
		t.Errorf("got %d uses of a metric, want them all", uses)
	}
}

// The expiries, the bounds and the reloads are those of the configuration in force, and counts of an
// action go on over a reload.
func TestMetrics_Configuration(t *testing.T) {
	t.Parallel()
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	d, c, lines := startDaemonWithEachMetric(t, expires)
	run := func() {
		t.Helper()
		w := d.dialTLS(c).put(d.sign("POST", "/shell", jsonOf(fields{"action": "greet"})).raw())
		if a := w.answer("POST"); a.Data == nil || a.Data.Stdout != "hello\n" {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	run()
	first := d.scrape()
	host, _, _ := net.SplitHostPort(d.address)
	c.renew(t, time.Now().Add(2000*time.Hour), host)
	lines[slices.Index(lines, "MAX_RUNNING = 7")] = "MAX_RUNNING = 8"
	d.configure(strconv.Quote(testKey), lines...)
	d.wantReloaded()
	run()
	second := d.scrape()
	for name, want := range map[string][2]float64{
		"key_expiry_timestamp_seconds{key=deploy}":     {float64(expires.Unix()), float64(expires.Unix())},
		"commands_running_limit":                       {7, 8},
		"reloads_total{result=succeeded}":              {0, 1},
		"reloads_total{result=refused}":                {0, 0},
		"actions_total{action=greet,result=succeeded}": {1, 2},
		"start_time_seconds":                           {first["start_time_seconds"], first["start_time_seconds"]},
	} {
		if got := [2]float64{first[name], second[name]}; got != want {
			t.Errorf("%s: got %v before and after the reload, want %v", name, got, want)
		}
	}
	const certificate, loaded = "tls_certificate_expiry_timestamp_seconds", "config_last_reload_success_timestamp_seconds"
	if want := float64(c.certificate.NotAfter.Unix()); second[certificate] != want || first[certificate] >= want {
		t.Errorf("%s: got %f, then %f, want %f at last", certificate, first[certificate], second[certificate], want)
	}
	if first[loaded] >= second[loaded] || first[loaded] < first["start_time_seconds"] {
		t.Errorf("%s: got %f, then %f", loaded, first[loaded], second[loaded])
	}
}
