package main

import (
	"fmt"
	"slices"
	"time"
)

// rank says what a contestant is there for.
type rank int

const (
	limit rank = iota // what the system takes, which nobody can save
	yardstick
	peer // what a user would take instead
	ours
)

// contestant is somebody who runs commands, and how to have it do so.
type contestant struct {
	name     string
	rank     rank
	worker   *worker
	base     order            // what the worker needs besides command and numbers
	share    int              // it does one of so many commands of a round: it is that slow
	accounts []account        // whose processor time its rounds take
	serving  func() []process // whose memory counts; nil where nothing serves
}

func (c *contestant) order(command string, clients, commands int) order {
	o := c.base
	o.Command, o.Clients, o.Commands = command, clients, max(1, commands/max(1, c.share))
	return o
}

type account struct {
	who     string
	process process
	took    cpu
}

// side is one contestant in one contest.
type side struct {
	*contestant
	order    order
	accounts []account
	rounds   []outcome
	failed   error // why it is out of the contest
	watched  bool  // its memory too
	peak     int64 // the largest resident size of what serves, of all rounds
}

func (c *contestant) side(command string, clients, commands int) *side {
	return &side{contestant: c, order: c.order(command, clients, commands), accounts: slices.Clone(c.accounts)}
}

func (s *side) round(counts bool) error {
	before := make([]cpu, len(s.accounts))
	for i, a := range s.accounts {
		before[i] = a.process.cpu()
	}
	result, err := s.do()
	if err != nil || !counts {
		return err
	}
	s.rounds = append(s.rounds, result)
	for i := range s.accounts {
		a := &s.accounts[i]
		a.took = a.took.plus(a.process.cpu().minus(before[i]))
	}
	return nil
}

func (s *side) do() (result outcome, err error) {
	if !s.watched || s.serving == nil {
		return s.worker.do(s.order)
	}
	p, err := watch(s.serving(), func() (err error) {
		result, err = s.worker.do(s.order)
		return err
	})
	s.peak = max(s.peak, p.rss)
	return result, err
}

func (s *side) absolute() string {
	text := fmt.Sprintf("p50 %.0f µs, p99 %.0f µs, %.0f/s; CPU µs each:",
		1e6*s.spread(latency).median, 1e6*s.spread(tail).median, s.spread(s.throughput).median)
	each := func(d time.Duration) int64 { return d.Microseconds() / int64(len(s.rounds)*s.order.Commands) }
	var children time.Duration
	for _, a := range s.accounts {
		text += fmt.Sprintf(" %s %d,", a.who, each(a.took.own))
		children += a.took.children
	}
	return text + fmt.Sprintf(" commands %d", each(children))
}

// What a round is judged by, in seconds and in commands per second.
func latency(o outcome) float64              { return o.Median.Seconds() }
func tail(o outcome) float64                 { return o.P99.Seconds() }
func elapsed(o outcome) float64              { return o.Elapsed.Seconds() }
func (s *side) throughput(o outcome) float64 { return float64(s.order.Commands) / o.Elapsed.Seconds() }

// spread is the median of some values and their range.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f..%.2f)", s.median, s.least, s.most) }

func (s *side) spread(of func(outcome) float64) spread {
	var values []float64
	for _, o := range s.rounds {
		values = append(values, of(o))
	}
	return spreadOf(values)
}

// over compares each round with the other's round shortly before or after it.
func (s *side) over(other *side, of func(*side, outcome) float64) spread {
	var ratios []float64
	for i := range min(len(s.rounds), len(other.rounds)) {
		ratios = append(ratios, of(s, s.rounds[i])/of(other, other.rounds[i]))
	}
	return spreadOf(ratios)
}

func ratioOfLatency(_ *side, o outcome) float64    { return latency(o) }
func ratioOfTail(_ *side, o outcome) float64       { return tail(o) }
func ratioOfElapsed(_ *side, o outcome) float64    { return elapsed(o) }
func ratioOfThroughput(s *side, o outcome) float64 { return s.throughput(o) }
