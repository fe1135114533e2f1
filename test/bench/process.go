package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process is a process id; its figures are read from /proc.
type process int

func (p process) file(name string) string { return fmt.Sprintf("/proc/%d/%s", int(p), name) }

// cpu is the processor time of a process, and of the children it has waited for.
type cpu struct{ own, children time.Duration }

func (c cpu) minus(before cpu) cpu { return cpu{c.own - before.own, c.children - before.children} }
func (c cpu) plus(other cpu) cpu   { return cpu{c.own + other.own, c.children + other.children} }

// cpu reads fields 14 to 17 of stat, which are in hundredths of a second on every architecture.
func (p process) cpu() cpu {
	text, _ := os.ReadFile(p.file("stat"))
	_, rest, _ := bytes.Cut(text, []byte(") ")) // the name may hold spaces
	fields := strings.Fields(string(rest))
	if len(fields) < 15 {
		return cpu{}
	}
	ticks := func(from int) time.Duration {
		user, _ := strconv.Atoi(fields[from])
		system, _ := strconv.Atoi(fields[from+1])
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	return cpu{own: ticks(11), children: ticks(13)}
}

// number reads one of the lines `Name:  123 kB`, zero if it cannot.
func (p process) number(file, name string) int64 {
	text, _ := os.ReadFile(p.file(file))
	return kilobytes(text, name)
}

func kilobytes(text []byte, name string) int64 {
	_, rest, _ := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n
}

// Sizes in bytes: the proportional share of what is resident, the resident size, and its peak.
func (p process) pss() int64     { return 1024 * p.number("smaps_rollup", "Pss") }
func (p process) rss() int64     { return 1024 * p.number("status", "VmRSS") }
func (p process) peak() int64    { return 1024 * p.number("status", "VmHWM") }
func (p process) threads() int64 { return p.number("status", "Threads") }

// resetPeak sets the peak to the present resident size.
func (p process) resetPeak() { _ = os.WriteFile(p.file("clear_refs"), []byte("5"), 0) }

// children returns the children of all threads.
func (p process) children() ([]process, error) {
	tasks, err := os.ReadDir(p.file("task"))
	if err != nil {
		return nil, fmt.Errorf("cannot look for children: %w", err)
	}
	var found []process
	for _, task := range tasks {
		children, _ := os.ReadFile(p.file("task/" + task.Name() + "/children"))
		for _, field := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(field); err == nil {
				found = append(found, process(pid))
			}
		}
	}
	return found, nil
}

// childNamed finds the child that has a word among its arguments.
func (p process) childNamed(word string) (process, error) {
	children, err := p.children()
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		arguments, _ := os.ReadFile(child.file("cmdline"))
		if bytes.Contains(arguments, []byte("\x00"+word+"\x00")) {
			return child, nil
		}
	}
	return 0, fmt.Errorf("process %d has no child %q", int(p), word)
}

// sameProgram returns the process and its descendants that run the program of that name.
func (p process) sameProgram(name string) []process {
	members := []process{p}
	children, _ := p.children()
	for _, child := range children {
		if comm, _ := os.ReadFile(child.file("comm")); strings.TrimSpace(string(comm)) == name {
			members = append(members, child.sameProgram(name)...)
		}
	}
	return members
}

func sum(processes []process, of func(process) int64) (total int64) {
	for _, p := range processes {
		total += of(p)
	}
	return total
}

const maxIdlePSS = 12_000_000

// idle measures memory after a pause, so that garbage is collected and freed.
func (b *bench) idle(when string) error {
	what := "idle " + when + ", PSS"
	if os.Geteuid() != 0 {
		b.report.missing(what, "<= 12 MB", "only root can read the daemon's memory")
		return nil
	}
	rest := 8 * time.Second
	if b.quick {
		rest = 6 * time.Second
	}
	time.Sleep(rest)
	d := b.daemon
	total := sum(d.serving(), process.pss)
	b.report.figure(
		what+" of both roles", fmt.Sprintf("%s after %v", megabytes(total), rest), "<= 12 MB",
		total <= maxIdlePSS,
	)
	b.report.detail(
		"executor %s, network role %s; anonymous memory of both %s; threads %d and %d",
		megabytes(d.executor.pss()), megabytes(d.network.pss()),
		megabytes(
			1024*sum(
				d.serving(), func(p process) int64 { return p.number("smaps_rollup", "Anonymous") },
			),
		),
		d.executor.threads(),
		d.network.threads(),
	)
	for _, c := range b.runners {
		if c.role == peer {
			b.report.fact(what+" of "+c.name, megabytes(sum(c.serving(), process.pss)))
		}
	}
	return nil
}

// peaks are the largest values during a measurement.
type peaks struct {
	pss, threads int64 // of all processes together, sampled
	rss, growth  int64 // sums of the kernel's own peaks: as they are, and above the start
}

// sample samples processes until during returns.
func sample(processes []process, during func() error) (peaks, error) {
	var p peaks
	before := sum(processes, process.rss)
	for _, one := range processes {
		one.resetPeak()
	}
	failed := make(chan error, 1)
	go func() { failed <- during() }()
	for {
		select {
		case err := <-failed:
			p.rss = sum(processes, process.peak)
			p.growth = p.rss - before
			return p, err
		case <-time.After(50 * time.Millisecond):
			p.pss, p.threads = max(
				p.pss, sum(processes, process.pss),
			), max(
				p.threads, sum(processes, process.threads),
			)
		}
	}
}
