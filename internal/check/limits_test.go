package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
)

func TestLimits_Findings(t *testing.T) {
	all := []string{"cpuset", "cpu", "io", "memory", "pids"}
	whole := []string{"ok: limits of memory, processes, processors and I/O hold for each command as a whole"}
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
		{"weights", func(s *config.Config) { s.LimitCPUWeight, s.LimitIOWeight = 50, 50 }, all, whole},
		{
			"weights, other controllers", func(s *config.Config) { s.LimitCPUWeight, s.LimitIOWeight = 50, 50 },
			[]string{"memory"},
			[]string{"warning: LIMIT_CPU_WEIGHT has no effect: the service has no cpu", "warning: LIMIT_IO_WEIGHT has no effect: the service has no io"},
		},
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

// A weight of I/O acts on disks with the scheduler bfq, or with io.cost.
func TestLimits_Disks(t *testing.T) {
	for _, test := range []struct {
		name, scheduler, model string
		want                   int
	}{
		{"none visible", "", "", 0},
		{"another scheduler", "none [mq-deadline] bfq\n", "", 1},
		{"bfq", "none mq-deadline [bfq]\n", "", 0},
		{"io.cost disabled", "[none]\n", "8:0 enable=0 ctrl=auto\n", 1},
		{"io.cost", "[none]\n", "8:0 enable=1 ctrl=auto\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.scheduler != "" {
				queue := filepath.Join(dir, "sda", "queue")
				if err := os.MkdirAll(queue, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(queue, "scheduler"), []byte(test.scheduler), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "io.cost.qos"), []byte(test.model), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := diskFindings(dir, dir); len(got) != test.want {
				t.Errorf("got %v, want %d findings", got, test.want)
			}
		})
	}
}
