package executor

import (
	"encoding/json"
	"maps"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
)

// limitKeys are the keys of an answer about limits.
type limitKeys struct {
	LimitsBy        *string
	OOMKilled       *bool
	MemoryPeakBytes *int64
}

// A host without controllers bounds processes, and says so.
func TestAnswer_LimitsByProcess(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.Limits = exec.Limits{MilliCPU: 1500} })
	for limits, want := range map[string]string{`{"memory":1073741824,"cpus":1}`: "1048576\n", `{}`: "unlimited\n"} {
		r.request(`{"command":"ulimit -v","limits":` + limits + `}`)
		_, _, body := r.answer()
		var got struct {
			Data struct {
				Stdout string
				limitKeys
			}
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Data.Stdout != want || got.Data.OOMKilled == nil ||
			got.Data.LimitsBy == nil || *got.Data.LimitsBy != "process" || *got.Data.OOMKilled || got.Data.MemoryPeakBytes != nil {
			t.Errorf("%s: got %s, %v; want %q by process", limits, body, err, want)
		}
	}
}

func TestAnswer_NoLimits(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"true"}`)
	_, _, body := r.answer()
	if want := `"memoryPeakBytes":null,"oomKilled":false,"limitsBy":null,`; !strings.Contains(string(body), want) {
		t.Errorf("got %s, want %s", body, want)
	}
}

func TestLimits_Processors(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.Limits = exec.Limits{MilliCPU: 1500} })
	for limits, want := range map[string]string{
		`"cpus":1.501`:   "limits: cpus: at most 1.5 is allowed here (LIMIT_CPUS)",
		`"cpus":-1`:      "cpus: must be 0 to 1024",
		`"cpus":1e300`:   "cpus: must be 0 to 1024",
		`"cpus":0.0001`:  "the limit of processors 0.001 is too low: use at least 0.01, or 0 for none",
		`"memory":70000`: "the limit of memory 70000 is less than a shell needs: use at least 8388608, or 0 for none",
	} {
		head, got := r.shell(`{"command":"true","limits":{` + limits + `}}`)
		if head.Status != 400 || !strings.HasSuffix(got.Message, want) {
			t.Errorf("%s: got %d %q, want 400 and %q at the end", limits, head.Status, got.Message, want)
		}
	}
}

// A request may lower a weight below that of the configuration, the key or the action, or below the
// default where none has one.
func TestLimits_Weights(t *testing.T) {
	for _, test := range []struct {
		configured, bounds uint64
		asked              string
		want               uint64
		refusal            string
	}{
		{0, 0, `{}`, 0, ""},
		{0, 0, `{"cpuWeight":0,"ioWeight":0}`, 0, ""},
		{0, 0, `{"cpuWeight":100,"ioWeight":100}`, 100, ""},
		{0, 0, `{"cpuWeight":101}`, 0, "limits: cpuWeight: at most 100 is allowed here (LIMIT_CPU_WEIGHT)"},
		{200, 200, `{}`, 200, ""},
		{200, 200, `{"cpuWeight":1,"ioWeight":1}`, 1, ""},
		{200, 200, `{"ioWeight":201}`, 0, "limits: ioWeight: at most 200 is allowed here (LIMIT_IO_WEIGHT)"},
		{200, 50, `{}`, 50, ""},
		{200, 50, `{"ioWeight":51}`, 0, "limits: ioWeight: at most 50 is allowed here (LIMITS of the key or the action)"},
		{0, 500, `{}`, 500, ""},
		{0, 500, `{"cpuWeight":501}`, 0, "limits: cpuWeight: at most 500 is allowed here (LIMITS of the key or the action)"},
		{10000, 10000, `{"cpuWeight":10000,"ioWeight":10000}`, 10000, ""},
		{0, 0, `{"cpuWeight":-1}`, 0, "limits: cpuWeight: must be a whole number"},
		{0, 0, `{"ioWeight":1.5}`, 0, "limits: ioWeight: must be a whole number"},
		{0, 0, `{"ioWeight":"1"}`, 0, "limits: ioWeight: must be a whole number"},
	} {
		r, err := decodeShell([]byte(`{"command":"true","limits":` + test.asked + `}`))
		var got exec.Limits
		if err == nil {
			both := func(weight uint64) exec.Limits { return exec.Limits{CPUWeight: weight, IOWeight: weight} }
			got, err = boundLimits(r.limits, both(test.bounds), both(test.configured))
		}
		if test.refusal != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.refusal) {
				t.Errorf("%s: got %v, want %q", test.asked, err, test.refusal)
			}
		} else if err != nil || got.CPUWeight != test.want || got.IOWeight != test.want {
			t.Errorf("%s within %d, %d: got %+v, %v; want %d", test.asked, test.configured, test.bounds, got, err, test.want)
		}
	}
}

// What is told of a command that was killed for its memory: answer, journal, callback and metrics.
func TestOOMKilled_IsTold(t *testing.T) {
	result := &exec.Result{
		ExitCode: -1, Signal: syscall.SIGKILL, OOMKilled: true, MemoryPeak: 64 << 20, LimitsBy: exec.ByCgroup,
	}
	keys := factsOf(result, 7).keys()
	if want := `"memoryPeakBytes":67108864,"oomKilled":true,"limitsBy":"cgroup",`; !strings.Contains(keys, want) {
		t.Errorf("got %s, want %s", keys, want)
	}
	if got := notice(result); !strings.Contains(got, "LIMIT_MEMORY") {
		t.Errorf("got the notice %q, want LIMIT_MEMORY in it", got)
	}
	fields := journal.Fields{}
	addLimitFields(fields, result)
	want := journal.Fields{journal.LimitsBy: "cgroup", journal.OOMKilled: "true", journal.MemoryPeak: "67108864"}
	if !maps.Equal(fields, want) {
		t.Errorf("got the fields %v, want %v", fields, want)
	}
	headers := strings.Join(ranReport(result, 7).headers, " ")
	if want := "X-Sidecar-Oom-Killed true"; !strings.Contains(headers, want) {
		t.Errorf("got the headers %q, want %q", headers, want)
	}
	c, next := newCounters("v", configured{}), newCounters("v", configured{})
	c.finished("", result)
	c.finished("", &exec.Result{})
	next.restore(c.state())
	if want := "dataflux_func_sidecar_commands_oom_killed_total 1\n"; !strings.Contains(string(next.page(gauges{})), want) {
		t.Errorf("got no %q after a handover", want)
	}
}
