package main

import "fmt"

// What the daemon must reach beside the loop, which does none of its work, and beside the peers.
const (
	latencyReach    = 1.10
	throughputReach = 0.97
)

// judge prints what one contest came to.
func (b *bench) judge(c *contest) {
	tried, loop := c.the(ours), c.the(yardstick)
	switch {
	case c.clients == 1:
		ratio := tried.over(loop, ratioOfLatency)
		b.report.figure(c.describe+", p50 over loop's", ratio.String()+" x", "<= 1.10 x", ratio.median <= latencyReach)
		b.judgeSeparation(c, tried, loop)
	case c.clients >= 16:
		ratio := tried.over(loop, ratioOfThroughput)
		b.report.figure(c.describe+", throughput over loop's", ratio.String()+" x", ">= 0.97 x", ratio.median >= throughputReach)
	}
	b.judgePeers(c)
	for _, s := range c.sides {
		if s.failed != nil {
			b.report.detail("%-14s failed: %v", s.name, s.failed)
			continue
		}
		b.report.detail("%-14s %s", s.name, s.absolute())
	}
}

// judgeSeparation tells how much of the daemon's p50 is the price of two roles, which nobody has to reach.
func (b *bench) judgeSeparation(c *contest, tried, loop *side) {
	for _, s := range c.sides {
		if s.name == separated && s.failed == nil {
			b.report.fact(c.describe+", p50 of the two-process loop over loop's", s.over(loop, ratioOfLatency).String()+" x")
			b.report.fact(c.describe+", p50 over the two-process loop's", tried.over(s, ratioOfLatency).String()+" x")
		}
	}
}

func (b *bench) judgePeers(c *contest) {
	tried := c.the(ours)
	for _, p := range c.peers() {
		ratio := tried.over(p, ratioOfThroughput)
		b.report.figure(fmt.Sprintf("%s, throughput over %s's", c.describe, p.name), ratio.String()+" x", "> 1 x", ratio.median > 1)
		ratio = tried.over(p, ratioOfLatency)
		b.report.figure(fmt.Sprintf("%s, p50 over %s's", c.describe, p.name), ratio.String()+" x", "< 1 x", ratio.median < 1)
		if c.clients == 64 {
			ratio = tried.over(p, ratioOfTail)
			b.report.figure(fmt.Sprintf("%s, p99 over %s's", c.describe, p.name), ratio.String()+" x", "<= 1 x", ratio.median <= 1)
		}
	}
}
