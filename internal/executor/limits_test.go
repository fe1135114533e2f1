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
