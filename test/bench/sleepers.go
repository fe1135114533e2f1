package main

import (
	"fmt"
	"os"
	"time"
)

const (
	sleepers        = 1000
	maxSleepersTime = 2500 * time.Millisecond
	maxSleepersPSS  = 64_000_000
)

// sleepers runs a thousand commands at once, each for a client of its own.
func (b *bench) sleepers() error {
	rounds := 2
	if b.quick {
		rounds = 1
	}
	for range rounds {
		for _, c := range b.runners {
			if c.role == baseline {
				b.sleepersOfLoop(c)
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

// sleepersOfLoop gives the figures in seconds a base for comparison on other machines.
func (b *bench) sleepersOfLoop(c *runner) {
	took, err := c.worker.do(c.task("sleep 1", sleepers, sleepers))
	if err != nil {
		b.report.missing(thousandSleep+c.name, "", err.Error())
		return
	}
	b.report.fact(
		thousandSleep+"all ended in the "+c.name, fmt.Sprintf("%.2f s", took.Elapsed.Seconds()),
	)
}

func (b *bench) sleepersOf(c *runner) error {
	var took roundResult
	t := c.task("sleep 1", sleepers, sleepers)
	t.Commands = sleepers // whatever the share
	p, err := sample(c.serving(), func() (err error) {
		took, err = c.worker.do(t)
		return err
	})
	if err != nil && c.role == peer {
		b.report.missing(thousandSleep+c.name, "", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	all := took.Connecting + took.Elapsed
	if c.role == peer {
		b.report.fact(thousandSleep+"all answered by "+c.name, fmt.Sprintf("%.2f s", all.Seconds()))
		b.report.fact(
			thousandSleep+"peak PSS and threads of "+c.name,
			fmt.Sprintf("%s, %d", megabytes(p.pss), p.threads),
		)
		return nil
	}
	b.report.figure(
		thousandSleep+"all answered", fmt.Sprintf("%.2f s", all.Seconds()), "<= 2.5 s",
		all <= maxSleepersTime,
	)
	b.report.detail(
		"of which connecting took %d ms; the median answer came after %.2f s",
		took.Connecting.Milliseconds(), took.Median.Seconds(),
	)
	b.report.figure(
		thousandSleep+"threads of both roles", fmt.Sprint(p.threads), "not per command",
		p.threads < sleepers/4,
	)
	if os.Geteuid() != 0 {
		b.report.missing(
			thousandSleep+"peak PSS of both", "< 64 MB", "only root can read the daemon's memory",
		)
		return nil
	}
	b.report.figure(
		thousandSleep+"peak PSS of both", megabytes(p.pss), "< 64 MB", p.pss < maxSleepersPSS,
	)
	return nil
}
