package main

import (
	"fmt"
	"os"
	"time"
)

const idleReach = 12_000_000

// idle gives everybody time to come to rest first.
func (b *bench) idle(when string) error {
	what := "idle " + when + ", PSS"
	if os.Geteuid() != 0 {
		b.report.missing(what, "<= 12 MB", "only root may look into the daemon")
		return nil
	}
	rest := 8 * time.Second
	if b.quick {
		rest = 6 * time.Second
	}
	time.Sleep(rest)
	d := b.daemon
	total := sum(d.serving(), process.pss)
	b.report.figure(what+" of both roles", fmt.Sprintf("%s after %v", megabytes(total), rest), "<= 12 MB", total <= idleReach)
	b.report.detail("executor %s, network role %s; anonymous memory of both %s; threads %d and %d",
		megabytes(d.executor.pss()), megabytes(d.network.pss()),
		megabytes(1024*sum(d.serving(), func(p process) int64 { return p.number("smaps_rollup", "Anonymous") })),
		d.executor.threads(), d.network.threads())
	for _, c := range b.contestants {
		if c.rank == peer {
			b.report.fact(what+" of "+c.name, megabytes(sum(c.serving(), process.pss)))
		}
	}
	return nil
}

// peaks are the largest values seen while something went on.
type peaks struct {
	pss, threads int64 // of all processes at one moment, sampled
	rss, growth  int64 // the kernel's own peaks, added up: as they are, and over what was before
}

// watch samples processes until during returns.
func watch(processes []process, during func() error) (peaks, error) {
	var p peaks
	before := sum(processes, process.rss)
	for _, one := range processes {
		one.forgetPeak()
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
			p.pss, p.threads = max(p.pss, sum(processes, process.pss)), max(p.threads, sum(processes, process.threads))
		}
	}
}
