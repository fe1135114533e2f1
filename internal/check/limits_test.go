package check

import (
	"strings"
	"testing"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
)

func TestLimits_Findings(t *testing.T) {
	all := []string{"cpuset", "cpu", "io", "memory", "pids"}
	whole := []string{"ok: limits of memory, processes and processors hold for each command as a whole"}
	for _, test := range []struct {
		name   string
		change func(*config.Config)
		there  []string
		want   []string
	}{
		{"none", func(*config.Config) {}, nil, nil},
		{"memory", func(s *config.Config) { s.LimitMemory = 1 << 30 }, all, whole},
		{"memory, hybrid", func(s *config.Config) { s.LimitMemory = 1 << 30 }, nil, []string{"warning: LIMIT_MEMORY bounds the address space of each process"}},
		{"other controllers", func(s *config.Config) { s.LimitMilliCPU, s.LimitMemory = 500, 1<<30 }, []string{"memory"}, []string{"warning: LIMIT_CPUS has no effect"}},
		{
			"of a key", func(s *config.Config) {
				s.NamedKeys = []config.NamedKey{{Key: policy.Key{Limits: exec.Limits{Processes: 5000}}}}
			}, nil, []string{"warning: LIMIT_PROCESSES bounds the processes of all commands together"},
		},
		{"few processes", func(s *config.Config) { s.LimitProcesses = 10 }, nil, []string{"warning: LIMIT_PROCESSES bounds", "warning: LIMIT_PROCESSES = 10, or one of LIMITS, is less than the MAX_RUNNING = 1024"}},
		{"few processes of each", func(s *config.Config) { s.LimitProcesses = 10 }, all, whole},
		{"totals", func(s *config.Config) { s.TotalMemory, s.TotalProcesses = 1<<30, 5000 }, nil, []string{"warning: TOTAL_MEMORY has no effect", "warning: TOTAL_PROCESSES has no effect"}},
		{
			"low totals", func(s *config.Config) { s.LimitMemory, s.TotalMemory, s.TotalProcesses = 2<<30, 1<<30, 100 }, all,
			[]string{whole[0], "warning: LIMIT_MEMORY = 2147483648 is above TOTAL_MEMORY = 1073741824", "warning: TOTAL_PROCESSES = 100 is below MAX_RUNNING = 1024"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := config.Default()
			test.change(&s)
			needed := neededControllers(s)
			if (len(needed) == 0) != (test.want == nil) {
				t.Errorf("got the controllers %v needed", needed)
			}
			if len(needed) == 0 {
				return
			}
			found := append(controllersFinding(s, needed, test.there), limitFindings(s)...)
			if len(found) != len(test.want) {
				t.Fatalf("got %v, want %q", found, test.want)
			}
			for i, f := range found {
				if !strings.HasPrefix(f.String(), test.want[i]) {
					t.Errorf("got %q, want it to begin with %q", f, test.want[i])
				}
			}
		})
	}
}
