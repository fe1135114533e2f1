package main

import (
	"fmt"
	"slices"
)

// contest is one command by so many clients: each contestant's rounds in turn.
type contest struct {
	command  string
	clients  int
	perRound int
	sides    []*side
	describe string // for the report, where command is not fit for it
}

func (b *bench) compareCommands() error {
	for _, command := range []string{"true", "echo hi"} {
		for _, clients := range []int{1, 4, 16, 64} {
			c, rounds := b.newContest(command, clients)
			if err := c.run(rounds); err != nil {
				return err
			}
			b.judge(c)
			b.report.contests = append(b.report.contests, c)
		}
	}
	return nil
}

func (b *bench) newContest(command string, clients int) (c *contest, rounds int) {
	rounds, perRound := 9, 200
	if clients > 1 {
		rounds, perRound = 7, 500
	}
	if b.quick {
		rounds, perRound = 3, perRound/2
	}
	c = &contest{command: command, clients: clients, perRound: perRound, describe: fmt.Sprintf("`%s`, %s", command, plural(clients, "client"))}
	for _, who := range b.contestants {
		c.sides = append(c.sides, who.side(command, clients, perRound))
	}
	return c, rounds
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// run alternates; a first round of each, which finds all caches cold, does not count. A peer or a limit
// that fails is left out from there on, and the others go on.
func (c *contest) run(rounds int) error {
	for i := -1; i < rounds; i++ {
		for _, s := range c.sides {
			if s.failed != nil {
				continue
			}
			if err := s.round(i >= 0); err != nil {
				if s.rank == ours || s.rank == yardstick {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				s.failed, s.rounds = err, nil
			}
		}
	}
	return nil
}

func (c *contest) the(r rank) *side {
	return c.sides[slices.IndexFunc(c.sides, func(s *side) bool { return s.rank == r })]
}

// peers are those that were not left out.
func (c *contest) peers() (peers []*side) {
	for _, s := range c.sides {
		if s.rank == peer && s.failed == nil {
			peers = append(peers, s)
		}
	}
	return peers
}
