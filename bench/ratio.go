package main

import (
	"fmt"
	"slices"
	"time"
)

// contest compares the daemon with the loop over one command.
type contest struct {
	command            string
	clients            int
	rounds, perRound   int
	bench              *bench
	loop, daemon       []outcome
	loopCPU, clientCPU cpu
	executorCPU        cpu
	networkCPU         cpu
}

func (b *bench) compareCommands() error {
	for _, command := range []string{"true", "echo hi"} {
		for _, clients := range []int{1, 16} {
			c := &contest{bench: b, command: command, clients: clients, rounds: 10, perRound: 250}
			if clients > 1 {
				c.rounds, c.perRound = 8, 1000
			}
			if b.quick {
				c.rounds, c.perRound = 5, c.perRound/2
			}
			if err := c.run(); err != nil {
				return err
			}
			c.print()
		}
	}
	return nil
}

// run alternates; a first round of each, which finds all caches cold, does not count.
func (c *contest) run() error {
	for i := -1; i < c.rounds; i++ {
		byLoop, err := c.round(c.bench.loop, order{Command: c.command, Clients: c.clients, Commands: c.perRound})
		if err != nil {
			return err
		}
		byDaemon, err := c.round(c.bench.client, c.bench.daemon.order(c.command, c.clients, c.perRound))
		if err != nil {
			return err
		}
		if i >= 0 {
			c.loop, c.daemon = append(c.loop, byLoop), append(c.daemon, byDaemon)
			continue
		}
		c.loopCPU, c.clientCPU, c.executorCPU, c.networkCPU = cpu{}, cpu{}, cpu{}, cpu{}
	}
	return nil
}

// round also adds up who took how much of the processors.
func (c *contest) round(w *worker, o order) (outcome, error) {
	b := c.bench
	accounts := []struct {
		process process
		sum     *cpu
	}{{b.loop.process, &c.loopCPU}, {b.client.process, &c.clientCPU}, {b.daemon.executor, &c.executorCPU}, {b.daemon.network, &c.networkCPU}}
	var before []cpu
	for _, a := range accounts {
		before = append(before, a.process.cpu())
	}
	result, err := w.do(o)
	for i, a := range accounts {
		*a.sum = a.sum.plus(a.process.cpu().minus(before[i]))
	}
	return result, err
}

func (c *contest) print() {
	name := fmt.Sprintf("`%s`, %d client", c.command, c.clients)
	if c.clients == 1 {
		ratio := c.spread(func(o outcome) float64 { return o.Median.Seconds() })
		printFigure(name+", p50 over loop's", ratio.String()+" x", "<= 1.25 x", ratio.median <= 1.25)
	} else {
		ratio := c.spread(func(o outcome) float64 { return o.perSecond(c.perRound) })
		printFigure(name+"s, throughput over loop's", ratio.String()+" x", ">= 0.90 x", ratio.median >= 0.90)
	}
	printDetail("loop    %s", c.absolute(c.loop))
	printDetail("daemon  %s", c.absolute(c.daemon))
	per := func(d time.Duration) int64 { return d.Microseconds() / int64(c.rounds*c.perRound) }
	printDetail("CPU, µs per command: loop %d + commands %d; executor %d + network role %d + client %d + commands %d",
		per(c.loopCPU.own), per(c.loopCPU.children),
		per(c.executorCPU.own), per(c.networkCPU.own), per(c.clientCPU.own), per(c.executorCPU.children))
}

func (c *contest) absolute(outcomes []outcome) string {
	micros := func(of func(outcome) time.Duration) int64 {
		return time.Duration(medianOf(outcomes, func(o outcome) float64 { return float64(of(o)) })).Microseconds()
	}
	return fmt.Sprintf("p50 %d µs, p99 %d µs, %.0f commands/s",
		micros(func(o outcome) time.Duration { return o.Median }),
		micros(func(o outcome) time.Duration { return o.P99 }),
		medianOf(outcomes, func(o outcome) float64 { return o.perSecond(c.perRound) }))
}

// spread is the median of the rounds' ratios and their range.
type spread struct{ least, median, most float64 }

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f..%.2f)", s.median, s.least, s.most) }

// spread compares each round of the daemon with the loop's before it.
func (c *contest) spread(of func(outcome) float64) spread {
	var ratios []float64
	for i := range c.daemon {
		ratios = append(ratios, of(c.daemon[i])/of(c.loop[i]))
	}
	slices.Sort(ratios)
	return spread{ratios[0], ratios[len(ratios)/2], ratios[len(ratios)-1]}
}

func medianOf(outcomes []outcome, of func(outcome) float64) float64 {
	var values []float64
	for _, o := range outcomes {
		values = append(values, of(o))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
