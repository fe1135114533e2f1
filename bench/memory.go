package main

import (
	"fmt"
	"os"
	"time"
)

const (
	idleReach     = 12_000_000
	sleepersReach = 64_000_000
	outputReach   = 64_000_000
	sleepers      = 1000
	sleepersTime  = 2500 * time.Millisecond
	muchOutput    = 1 << 30
)

// idle gives the daemon time to come to rest first.
func (b *bench) idle(when string) error {
	what := "idle " + when + ", PSS of both roles"
	if os.Geteuid() != 0 {
		printNotMeasured(what, "<= 12 MB", "only root may look into the daemon")
		return nil
	}
	rest := 8 * time.Second
	if b.quick {
		rest = 6 * time.Second
	}
	time.Sleep(rest)
	d := b.daemon
	sum := d.sum(process.pss)
	printFigure(what, fmt.Sprintf("%s after %v", megabytes(sum), rest), "<= 12 MB", sum <= idleReach)
	printDetail("executor %s, network role %s; anonymous memory of both %s; threads %d and %d",
		megabytes(d.executor.pss()), megabytes(d.network.pss()),
		megabytes(1024*d.sum(func(p process) int64 { return p.number("smaps_rollup", "Anonymous") })),
		d.executor.threads(), d.network.threads())
	return nil
}

// peaks are the largest values seen while something went on.
type peaks struct {
	pss                    int64 // of both roles at one moment, sampled
	executor, network      int64 // threads, sampled
	executorRSS, growthRSS int64 // the kernel's own peaks: the executor's, and of both over what was before
}

// watch samples the roles until during returns.
func (d *daemon) watch(during func() error) (peaks, error) {
	var p peaks
	before := d.sum(process.rss)
	for _, role := range d.roles() {
		role.forgetPeak()
	}
	failed := make(chan error, 1)
	go func() { failed <- during() }()
	for {
		select {
		case err := <-failed:
			p.executorRSS, p.growthRSS = d.executor.peak(), d.sum(process.peak)-before
			return p, err
		case <-time.After(50 * time.Millisecond):
			p.pss = max(p.pss, d.sum(process.pss))
			p.executor, p.network = max(p.executor, d.executor.threads()), max(p.network, d.network.threads())
		}
	}
}

// sleepers has a thousand commands run at once, on as many connections.
func (b *bench) sleepers() error {
	rounds := 3
	if b.quick {
		rounds = 1
	}
	for range rounds {
		var took outcome
		p, err := b.daemon.watch(func() (err error) {
			took, err = b.client.do(b.daemon.order("sleep 1", sleepers, sleepers))
			return err
		})
		if err != nil {
			return err
		}
		all := took.Connecting + took.Elapsed
		printFigure("1000 x `sleep 1` at once, all answered", fmt.Sprintf("%.2f s", all.Seconds()), "<= 2.5 s", all <= sleepersTime)
		printDetail("of which connecting took %d ms; the median answer came after %.2f s", took.Connecting.Milliseconds(), took.Median.Seconds())
		b.printSleepersMemory(p)
	}
	return nil
}

func (b *bench) printSleepersMemory(p peaks) {
	what := "1000 x `sleep 1` at once, peak PSS of both"
	if os.Geteuid() != 0 {
		printNotMeasured(what, "< 64 MB", "only root may look into the daemon")
	} else {
		printFigure(what, megabytes(p.pss), "< 64 MB", p.pss < sleepersReach)
	}
	printFigure("1000 x `sleep 1` at once, threads", fmt.Sprintf("executor %d, network role %d", p.executor, p.network),
		"not per command", p.executor+p.network < sleepers/4)
}

// muchOutput has one command write a gigabyte.
func (b *bench) muchOutput() error {
	var took outcome
	p, err := b.daemon.watch(func() (err error) {
		took, err = b.client.do(b.daemon.order(fmt.Sprintf("head -c %d /dev/zero", muchOutput), 1, 1))
		return err
	})
	if err != nil {
		return err
	}
	printFigure("1 GB of output, peak RSS of both over idle", megabytes(p.growthRSS), "<= 64 MB", p.growthRSS <= outputReach)
	printDetail("answered after %.2f s with %s; peak PSS of both %s", took.Elapsed.Seconds(), megabytes(took.Bytes), megabytes(p.pss))
	return nil
}
