package main

import (
	"fmt"
	"os"
	"time"
)

const (
	sleepers      = 1000
	sleepersTime  = 2500 * time.Millisecond
	sleepersReach = 64_000_000
)

// sleepers has a thousand commands run at once, each for a client of its own.
func (b *bench) sleepers() error {
	rounds := 2
	if b.quick {
		rounds = 1
	}
	for range rounds {
		for _, c := range b.contestants {
			if c.rank == yardstick {
				b.sleepersOfLoop(c)
			}
			if c.rank != ours && c.rank != peer {
				continue
			}
			if err := b.sleepersOf(c); err != nil {
				return err
			}
		}
	}
	return nil
}

const thousandSleep = "1000 x `sleep 1` at once, "

// sleepersOfLoop is what a figure in seconds can be compared with on another machine.
func (b *bench) sleepersOfLoop(c *contestant) {
	took, err := c.worker.do(c.order("sleep 1", sleepers, sleepers))
	if err != nil {
		b.report.missing(thousandSleep+c.name, "", err.Error())
		return
	}
	b.report.fact(thousandSleep+"all ended in the "+c.name, fmt.Sprintf("%.2f s", took.Elapsed.Seconds()))
}

func (b *bench) sleepersOf(c *contestant) error {
	var took outcome
	o := c.order("sleep 1", sleepers, sleepers)
	o.Commands = sleepers // nobody is spared
	p, err := watch(c.serving(), func() (err error) {
		took, err = c.worker.do(o)
		return err
	})
	if err != nil && c.rank == peer {
		b.report.missing(thousandSleep+c.name, "", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	all := took.Connecting + took.Elapsed
	if c.rank == peer {
		b.report.fact(thousandSleep+"all answered by "+c.name, fmt.Sprintf("%.2f s", all.Seconds()))
		b.report.fact(thousandSleep+"peak PSS and threads of "+c.name, fmt.Sprintf("%s, %d", megabytes(p.pss), p.threads))
		return nil
	}
	b.report.figure(thousandSleep+"all answered", fmt.Sprintf("%.2f s", all.Seconds()), "<= 2.5 s", all <= sleepersTime)
	b.report.detail("of which connecting took %d ms; the median answer came after %.2f s", took.Connecting.Milliseconds(), took.Median.Seconds())
	b.report.figure(thousandSleep+"threads of both roles", fmt.Sprint(p.threads), "not per command", p.threads < sleepers/4)
	if os.Geteuid() != 0 {
		b.report.missing(thousandSleep+"peak PSS of both", "< 64 MB", "only root may look into the daemon")
		return nil
	}
	b.report.figure(thousandSleep+"peak PSS of both", megabytes(p.pss), "< 64 MB", p.pss < sleepersReach)
	return nil
}
