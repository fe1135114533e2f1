package main

import (
	"fmt"
	"slices"
	"time"
)

// role says what a runner is measured for.
type role int

const (
	baseline role = iota // the bare loop: all ratios are over it
	peer                 // what a user would install instead
	subject              // the daemon
)

// runner is one way to run commands.
type runner struct {
	name     string
	role     role
	worker   *worker
	base     task             // what the worker needs besides command and numbers
	share    int              // it runs one in share commands of a round, as it is that slow
	accounts []account        // the processes whose CPU time a round takes
	serving  func() []process // the processes whose memory counts; nil if nothing serves
}

func (r *runner) task(command string, clients, commands int) task {
	t := r.base
	t.Command, t.Clients, t.Commands = command, clients, max(1, commands/max(1, r.share))
	return t
}

// account is the CPU time of one process over the rounds of a series.
type account struct {
	name    string
	process process
	used    cpu
}

// workload is one command, called by a number of clients at once. All runners take turns, round by
// round.
type workload struct {
	command  string
	clients  int
	perRound int
	series   []*series
	describe string // the command as the report shows it
}

func (b *bench) smallCommands() error {
	for _, command := range []string{"true", "echo hi"} {
		for _, clients := range []int{1, 4, 16, 64} {
			w, rounds := b.newWorkload(command, clients)
			if err := w.run(rounds); err != nil {
				return err
			}
			b.evaluate(w)
			b.report.workloads = append(b.report.workloads, w)
		}
	}
	return nil
}

func (b *bench) newWorkload(command string, clients int) (w *workload, rounds int) {
	rounds, perRound := 9, 200
	if clients > 1 {
		rounds, perRound = 7, 500
	}
	if b.quick {
		rounds, perRound = 3, perRound/2
	}
	w = &workload{
		command: command, clients: clients, perRound: perRound,
		describe: fmt.Sprintf("`%s`, %s", command, plural(clients, "client")),
	}
	for _, r := range b.runners {
		w.series = append(w.series, newSeries(r, command, clients, perRound))
	}
	return w, rounds
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// run alternates between the runners. The first round of each warms caches and is not counted. A
// peer that fails is left out from then on.
func (w *workload) run(rounds int) error {
	for i := -1; i < rounds; i++ {
		for _, s := range w.series {
			if s.failed != nil {
				continue
			}
			if err := s.round(i >= 0); err != nil {
				if s.role != peer {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				s.failed, s.rounds = err, nil
			}
		}
	}
	return nil
}

// only returns the series of the one runner that has this role.
func (w *workload) only(r role) *series {
	return w.series[slices.IndexFunc(w.series, func(s *series) bool { return s.role == r })]
}

// peers returns the peers that did not fail.
func (w *workload) peers() (peers []*series) {
	for _, s := range w.series {
		if s.role == peer && s.failed == nil {
			peers = append(peers, s)
		}
	}
	return peers
}

// series is the rounds of one runner under one workload.
type series struct {
	*runner
	task     task
	accounts []account
	rounds   []roundResult
	failed   error // why the runner was left out
	sampled  bool  // sample the memory as well
	peak     int64 // the largest resident size of the serving processes over all rounds
}

func newSeries(r *runner, command string, clients, commands int) *series {
	return &series{
		runner: r, task: r.task(command, clients, commands),
		accounts: slices.Clone(r.accounts),
	}
}

func (s *series) round(counted bool) error {
	before := make([]cpu, len(s.accounts))
	for i, a := range s.accounts {
		before[i] = a.process.cpu()
	}
	result, err := s.runOnce()
	if err != nil || !counted {
		return err
	}
	s.rounds = append(s.rounds, result)
	for i := range s.accounts {
		a := &s.accounts[i]
		a.used = a.used.plus(a.process.cpu().minus(before[i]))
	}
	return nil
}

func (s *series) runOnce() (result roundResult, err error) {
	if !s.sampled || s.serving == nil {
		return s.worker.do(s.task)
	}
	p, err := sample(s.serving(), func() (err error) {
		result, err = s.worker.do(s.task)
		return err
	})
	s.peak = max(s.peak, p.rss)
	return result, err
}

func (s *series) summary() string {
	text := fmt.Sprintf("p50 %.0f µs, p99 %.0f µs, %.0f/s; CPU µs each:",
		1e6*s.spread(latency).median, 1e6*s.spread(tail).median, s.spread(s.throughput).median)
	each := func(d time.Duration) int64 { return d.Microseconds() / int64(len(s.rounds)*s.task.Commands) }
	var children time.Duration
	for _, a := range s.accounts {
		text += fmt.Sprintf(" %s %d,", a.name, each(a.used.own))
		children += a.used.children
	}
	return text + fmt.Sprintf(" commands %d", each(children))
}

// Metrics of a round, in seconds and in commands per second.
func latency(r roundResult) float64 { return r.Median.Seconds() }
func tail(r roundResult) float64    { return r.P99.Seconds() }
func (s *series) throughput(r roundResult) float64 {
	return float64(s.task.Commands) / r.Elapsed.Seconds()
}

func ratioOfLatency(_ *series, r roundResult) float64    { return latency(r) }
func ratioOfTail(_ *series, r roundResult) float64       { return tail(r) }
func ratioOfElapsed(_ *series, r roundResult) float64    { return r.Elapsed.Seconds() }
func ratioOfThroughput(s *series, r roundResult) float64 { return s.throughput(r) }

// spread is the median of some values and their range.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f..%.2f)", s.median, s.least, s.most) }

// times is the spread in another unit, as whole numbers.
func (s spread) times(unit float64) string {
	return fmt.Sprintf("%.0f (%.0f..%.0f)", s.median*unit, s.least*unit, s.most*unit)
}

// quartiles is the median of some values, and the quarters below and above it.
func quartiles(values []float64) string {
	slices.Sort(values)
	n := len(values)
	return fmt.Sprintf("%.3f (quartiles %.3f..%.3f)", values[n/2], values[n/4], values[n*3/4])
}

func (s *series) spread(metric func(roundResult) float64) spread {
	var values []float64
	for _, r := range s.rounds {
		values = append(values, metric(r))
	}
	return spreadOf(values)
}

// over divides each round by the other series' round of the same turn.
func (s *series) over(other *series, metric func(*series, roundResult) float64) spread {
	return spreadOf(s.ratios(other, metric))
}

func (s *series) ratios(
	other *series, metric func(*series, roundResult) float64,
) (ratios []float64) {
	for i := range min(len(s.rounds), len(other.rounds)) {
		ratios = append(ratios, metric(s, s.rounds[i])/metric(other, other.rounds[i]))
	}
	return ratios
}

// Targets for the daemon over the loop, which verifies nothing and serves no clients.
const (
	maxLatencyRatio    = 1.10
	minThroughputRatio = 0.97
)

// evaluate reports the figures of one workload.
func (b *bench) evaluate(w *workload) {
	daemon, loop := w.only(subject), w.only(baseline)
	switch {
	case w.clients == 1:
		ratio := daemon.over(loop, ratioOfLatency)
		b.report.figure(
			w.describe+", p50 over loop's", ratio.String()+" x", "<= 1.10 x",
			ratio.median <= maxLatencyRatio,
		)
	case w.clients >= 16:
		ratio := daemon.over(loop, ratioOfThroughput)
		b.report.figure(
			w.describe+", throughput over loop's", ratio.String()+" x", ">= 0.97 x",
			ratio.median >= minThroughputRatio,
		)
	}
	for _, p := range w.peers() {
		ratio := daemon.over(p, ratioOfThroughput)
		b.report.figure(
			fmt.Sprintf("%s, throughput over %s's", w.describe, p.name), ratio.String()+" x",
			"> 1 x", ratio.median > 1,
		)
		ratio = daemon.over(p, ratioOfLatency)
		b.report.figure(
			fmt.Sprintf("%s, p50 over %s's", w.describe, p.name), ratio.String()+" x", "< 1 x",
			ratio.median < 1,
		)
		if w.clients == 64 {
			ratio = daemon.over(p, ratioOfTail)
			b.report.figure(
				fmt.Sprintf("%s, p99 over %s's", w.describe, p.name), ratio.String()+" x", "<= 1 x",
				ratio.median <= 1,
			)
		}
	}
	for _, s := range w.series {
		if s.failed != nil {
			b.report.detail("%-14s failed: %v", s.name, s.failed)
			continue
		}
		b.report.detail("%-14s %s", s.name, s.summary())
	}
}
