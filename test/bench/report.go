package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// report prints figures as they come, and keeps them for the document.
type report struct {
	build     string // the commit that the measured program was built from
	began     time.Time
	took      time.Duration
	load      [2]string // at the start and at the end
	remark    string    // -remark
	python    string    // its version, for -fleet
	ansible   string    // and for -ansible
	figures   []figure
	workloads []*workload
	large     []*workload
}

// figure is one line of the report. target and verdict are empty if there is no target.
type figure struct{ name, value, target, verdict string }

func (r *report) figure(name, value, target string, met bool) {
	verdict := "MISSED"
	if met {
		verdict = "met"
	}
	r.figures = append(r.figures, figure{name, value, target, verdict})
	fmt.Printf("%-56s %-28s target %-16s %s\n", name, value, target, verdict)
}

// fact is a figure without a target.
func (r *report) fact(name, value string) {
	r.figures = append(r.figures, figure{name: name, value: value})
	fmt.Printf("%-56s %s\n", name, value)
}

func (r *report) missing(name, target, reason string) {
	r.figures = append(r.figures, figure{name, "not measured: " + reason, target, ""})
	if target != "" {
		target = " (target " + target + ")"
	}
	fmt.Printf("%-56s not measured: %s%s\n", name, reason, target)
}

// detail prints a line that is not part of the document.
func (r *report) detail(format string, args ...any) {
	fmt.Printf("    "+format+"\n", args...)
}

func (r *report) begin(program string) {
	r.build, r.began, r.load[0] = buildOf(program), time.Now(), load()
	fmt.Printf("%s, on %s\nload %s at the start\n", r.build, thisHost(), r.load[0])
}

func (r *report) end() {
	r.took, r.load[1] = time.Since(r.began), load()
	fmt.Printf("load %s at the end, after %d s\n", r.load[1], int(r.took.Seconds()))
}

// buildOf names the commit that a program was built from: as Go has noted it in the file, else that
// of the tree, which `make bench` has just built.
func buildOf(program string) string {
	if info, err := buildinfo.ReadFile(program); err == nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "commit " + s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	out, err := exec.Command("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty").Output()
	if err != nil {
		return "an unknown commit"
	}
	return "the tree at commit " + strings.TrimSpace(string(out))
}

// load is the load average of the last minute. Above 1 at the start, other work makes the figures
// noisy.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// thisHost describes the machine without naming it.
func thisHost() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	version, _, _ := strings.Cut(
		strings.TrimSpace(string(release)), "-",
	) // the rest names a distribution's build
	return fmt.Sprintf(
		"%d cores (%s), %.0f GB of memory, Linux %s, %s", runtime.NumCPU(), cpuModel(),
		float64(memory("MemTotal"))/1e9, version, runtime.Version(),
	)
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, found := bytes.Cut(text, []byte("model name"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if !found {
		return runtime.GOARCH
	}
	return strings.TrimSpace(strings.TrimLeft(string(line), "\t :"))
}

// memory reads one of the lines of /proc/meminfo, in bytes.
func memory(name string) int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	return 1024 * kilobytes(text, name)
}

// The commands that print the versions of the peers.
var (
	webhookVersion = []string{"webhook", "-version"}
	sshVersion     = []string{"ssh", "-V"}
)

// versions lists the versions of the peers that are installed.
func versions(commands ...[]string) string {
	var found []string
	for _, arguments := range commands {
		if out, err := exec.Command(arguments[0], arguments[1:]...).CombinedOutput(); err == nil {
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), ",")
			found = append(found, strings.Replace(first, "webhook version", "webhook", 1))
		}
	}
	if len(found) == 0 {
		return "none is installed"
	}
	return strings.Join(found, ", ")
}

// writeDocument writes a document to the folder of -docs.
func writeDocument(folder, name, text string) error {
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the document: %w", err)
	}
	return nil
}

func (r *report) document(host, versions string) string {
	var d strings.Builder
	fmt.Fprintf(&d, `# Benchmark

Written by `+"`make bench`"+`. [test/bench/main.go](../test/bench/main.go) says how to read it.

%s, most of which the bench makes itself.
Peers: %s.
`, r.measured(host), versions)
	if r.remark != "" {
		d.WriteString(r.remark + "\n")
	}
	d.WriteString(legend)
	for _, w := range r.workloads {
		writeWorkload(&d, w)
	}
	for _, w := range r.large {
		writeLarge(&d, w)
	}
	r.writeFigures(&d)
	return d.String()
}

// measured says what was measured, when and where.
func (r *report) measured(host string) string {
	return fmt.Sprintf(
		"The figures are of %s, measured %s on %s. Load %s at the start, %s at the end",
		r.build, r.began.UTC().Format("2006-01-02 15:04 UTC"), host, r.load[0], r.load[1],
	)
}

const legend = `
| row | is |
|---|---|
| os/exec loop | the baseline: os/exec with two buffers, in a process that serves no clients |
| daemon | this program with all it does: signature, nonces on disk, two roles, journal as text in a file |
| webhook | with a rule for the body's HMAC-SHA256 and the output in the answer; no nonces, no journal, same client |
| OpenSSH | one connection that stays open, a session and a client process (` + "`ssh`" + `) per command |

Values are medians of rounds in which all rows take turns, with the range over the rounds in brackets.
`

func writeWorkload(d *strings.Builder, w *workload) {
	fmt.Fprintf(
		d, "\n## %s\n\n| | p50, µs | p99, µs | commands per second |\n|---|---|---|---|\n",
		w.describe,
	)
	for _, s := range w.series {
		if s.failed != nil {
			fmt.Fprintf(d, "| %s | failed | | |\n", s.name)
			continue
		}
		fmt.Fprintf(
			d, "| %s | %s | %s | %s |\n", s.name,
			s.spread(latency).times(1e6),
			s.spread(tail).times(1e6),
			s.spread(s.throughput).times(1),
		)
	}
}

func writeLarge(d *strings.Builder, w *workload) {
	fmt.Fprintf(
		d, "\n## %s\n\n| | each, ms | peak RSS of the server |\n|---|---|---|\n", w.describe,
	)
	for _, s := range w.series {
		if s.failed != nil {
			fmt.Fprintf(d, "| %s | failed | |\n", s.name)
			continue
		}
		fmt.Fprintf(d, "| %s | %s | %s |\n", s.name, s.spread(latency).times(1e3), s.peakText())
	}
}

func (s *series) peakText() string {
	if s.peak == 0 {
		return "-"
	}
	return megabytes(s.peak)
}

func (r *report) writeFigures(d *strings.Builder) {
	d.WriteString(
		"\n## All figures and their targets\n\n| figure | value | target | |\n|---|---|---|---|\n",
	)
	for _, f := range r.figures {
		verdict := f.verdict
		if verdict == "MISSED" {
			verdict = "**MISSED**"
		}
		fmt.Fprintf(d, "| %s | %s | %s | %s |\n", f.name, f.value, f.target, verdict)
	}
}
