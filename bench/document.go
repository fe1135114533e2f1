package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// write makes the documents of what was measured.
func (r *report) write(folder string) error {
	for name, text := range map[string]string{"benchmark.md": r.document(thisHost(), versions()), "benchmark.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot write the document: %w", err)
		}
	}
	return nil
}

func (r *report) document(host string, versions []string) string {
	var d strings.Builder
	fmt.Fprintf(&d, `# Benchmark

Written by `+"`make bench`"+`, which measures anew. [bench/main.go](../bench/main.go) says how to read it.

Measured %s on %s. Load %s at the start, %s at the end; the bench itself makes more while it runs, a thousand commands at once among it.
%s
![Commands per second and p99 by clients](benchmark.svg)
`, r.began.UTC().Format("2006-01-02 15:04 UTC"), host, r.load[0], r.load[1], paragraph("Peers: "+orNone(versions)+".", r.remark))
	d.WriteString(whoIsWho)
	for _, c := range r.contests {
		writeContest(&d, c)
	}
	for _, c := range r.large {
		writeLarge(&d, c)
	}
	r.writeFigures(&d)
	return d.String()
}

const whoIsWho = `
| row | is |
|---|---|
| vfork in C | a limit: vfork, exec of the shell, wait; output to /dev/null |
| memfd loop | a limit: fork and exec from Go, output in two files in memory |
| loop on socket | a limit: the os/exec loop behind a socket, without HTTP or signatures |
| two-process loop | a limit: the same, with the socket in one process and the commands in another |
| os/exec loop | the yardstick: os/exec with two buffers, in a process that serves nobody |
| daemon | this one, with all it does: signature, nonces on disk, two roles, journal as text in a file |
| webhook | with a rule for the body's HMAC-SHA256 and its output in the answer; no nonces, no journal, called by the same client |
| OpenSSH | one connection that stays open, a session and a client process (` + "`ssh`" + `) per command |

Values are medians of rounds in which all take turns, with the range over the rounds in brackets.
`

// paragraph leaves out lines that say nothing.
func paragraph(lines ...string) string {
	var text strings.Builder
	for _, line := range lines {
		if line != "" {
			text.WriteString(line + "\n")
		}
	}
	return text.String()
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none is installed"
	}
	return strings.Join(list, ", ")
}

func writeContest(d *strings.Builder, c *contest) {
	fmt.Fprintf(d, "\n## %s\n\n| | p50, µs | p99, µs | commands per second |\n|---|---|---|---|\n", c.describe)
	for _, s := range c.sides {
		if s.failed != nil {
			fmt.Fprintf(d, "| %s | failed | | |\n", s.name)
			continue
		}
		fmt.Fprintf(d, "| %s | %s | %s | %s |\n", s.name,
			s.spread(latency).times(1e6), s.spread(tail).times(1e6), s.spread(s.throughput).times(1))
	}
}

func writeLarge(d *strings.Builder, c *contest) {
	fmt.Fprintf(d, "\n## %s\n\n| | each, ms | peak RSS of what serves |\n|---|---|---|\n", c.describe)
	for _, s := range c.sides {
		if s.failed != nil {
			fmt.Fprintf(d, "| %s | failed | |\n", s.name)
			continue
		}
		fmt.Fprintf(d, "| %s | %s | %s |\n", s.name, s.spread(latency).times(1e3), s.peakText())
	}
}

func (s *side) peakText() string {
	if s.peak == 0 {
		return "-"
	}
	return megabytes(s.peak)
}

// times is the spread in another unit, as whole numbers.
func (s spread) times(unit float64) string {
	return fmt.Sprintf("%.0f (%.0f..%.0f)", s.median*unit, s.least*unit, s.most*unit)
}

func (r *report) writeFigures(d *strings.Builder) {
	d.WriteString("\n## Every figure, beside what it must reach\n\n| figure | value | to reach | |\n|---|---|---|---|\n")
	for _, f := range r.figures {
		verdict := f.verdict
		if verdict == "MISSED" {
			verdict = "**MISSED**"
		}
		fmt.Fprintf(d, "| %s | %s | %s | %s |\n", f.what, f.value, f.reach, verdict)
	}
}
