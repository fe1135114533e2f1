package main

import (
	"fmt"
	"slices"
	"time"
)

// contest compares the daemon with the loop over one command.
type contest struct {
	clients, perRound   int
	loop, socket, tried *side
}

func (b *bench) compareCommands() error {
	for _, command := range []string{"true", "echo hi"} {
		for _, clients := range []int{1, 16} {
			c, rounds := b.newContest(command, clients)
			if err := c.run(rounds); err != nil {
				return err
			}
			c.print(fmt.Sprintf("`%s`, %d client", command, clients))
		}
	}
	return nil
}

func (b *bench) newContest(command string, clients int) (c contest, rounds int) {
	rounds, perRound := 10, 250
	if clients > 1 {
		rounds, perRound = 8, 1000
	}
	if b.quick {
		rounds, perRound = 5, perRound/2
	}
	o := order{Command: command, Clients: clients, Commands: perRound}
	atSocket, atDaemon := o, b.daemon.order(command, clients, perRound)
	atSocket.Address = b.floor
	client := account{who: "client", process: b.client.process}
	return contest{
		clients: clients, perRound: perRound,
		loop:   &side{worker: b.loop, order: o, accounts: []account{{who: "loop", process: b.loop.process}}},
		socket: &side{worker: b.client, order: atSocket, accounts: []account{{who: "loop", process: b.server.process}, client}},
		tried: &side{worker: b.client, order: atDaemon, accounts: []account{
			{who: "executor", process: b.daemon.executor}, {who: "network role", process: b.daemon.network}, client,
		}},
	}, rounds
}

// run alternates; a first round of each, which finds all caches cold, does not count.
func (c *contest) run(rounds int) error {
	for i := -1; i < rounds; i++ {
		for _, s := range []*side{c.loop, c.socket, c.tried} {
			if err := s.round(i >= 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *contest) print(name string) {
	if c.clients == 1 {
		ratio := c.spread(c.tried, latency)
		printFigure(name+", p50 over loop's", ratio.String()+" x", "<= 1.25 x", ratio.median <= 1.25)
		printDetail("loop behind a socket: %s x", c.spread(c.socket, latency))
	} else {
		ratio := c.spread(c.tried, c.throughput)
		printFigure(name+"s, throughput over loop's", ratio.String()+" x", ">= 0.90 x", ratio.median >= 0.90)
		printDetail("loop behind a socket: %s x", c.spread(c.socket, c.throughput))
	}
	printDetail("loop    %s", c.loop.absolute())
	printDetail("socket  %s", c.socket.absolute())
	printDetail("daemon  %s", c.tried.absolute())
}

func latency(o outcome) float64                 { return o.Median.Seconds() }
func (c *contest) throughput(o outcome) float64 { return o.perSecond(c.perRound) }

// spread is the median of the rounds' ratios and their range.
type spread struct{ least, median, most float64 }

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f..%.2f)", s.median, s.least, s.most) }

// spread compares each round with the loop's round shortly before it.
func (c *contest) spread(s *side, of func(outcome) float64) spread {
	var ratios []float64
	for i := range s.rounds {
		ratios = append(ratios, of(s.rounds[i])/of(c.loop.rounds[i]))
	}
	slices.Sort(ratios)
	return spread{ratios[0], ratios[len(ratios)/2], ratios[len(ratios)-1]}
}

// side is one contestant: who does its rounds, and whose processor time they take.
type side struct {
	worker   *worker
	order    order
	accounts []account
	rounds   []outcome
}

type account struct {
	who     string
	process process
	took    cpu
}

func (s *side) round(counts bool) error {
	before := make([]cpu, len(s.accounts))
	for i, a := range s.accounts {
		before[i] = a.process.cpu()
	}
	result, err := s.worker.do(s.order)
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

func (s *side) absolute() string {
	micros := func(of func(outcome) time.Duration) int64 {
		return time.Duration(s.median(func(o outcome) float64 { return float64(of(o)) })).Microseconds()
	}
	text := fmt.Sprintf("p50 %d µs, p99 %d µs, %.0f/s; CPU µs each:",
		micros(func(o outcome) time.Duration { return o.Median }),
		micros(func(o outcome) time.Duration { return o.P99 }),
		s.median(func(o outcome) float64 { return o.perSecond(s.order.Commands) }))
	each := func(d time.Duration) int64 { return d.Microseconds() / int64(len(s.rounds)*s.order.Commands) }
	for _, a := range s.accounts {
		text += fmt.Sprintf(" %s %d,", a.who, each(a.took.own))
	}
	return text + fmt.Sprintf(" commands %d", each(s.accounts[0].took.children))
}

func (s *side) median(of func(outcome) float64) float64 {
	var values []float64
	for _, o := range s.rounds {
		values = append(values, of(o))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
