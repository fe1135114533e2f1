package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	muchOutput  = 2 << 30
	outputReach = 64_000_000
	fewLarge    = 2 // of 50 MiB in a round
)

// largeOutputs has text come back whole: to the daemon as JSON in one answer, hence a daemon that keeps
// more of it than the default.
func (b *bench) largeOutputs(folder string) error {
	wide, err := startDaemon(b.program, b.user, filepath.Join(folder, "wide"), fmt.Sprintf("MAX_OUTPUT = %d", 64<<20))
	if err != nil {
		return err
	}
	defer wide.stop()
	for _, size := range []struct{ mebibytes, rounds, perRound int }{{1, 7, 20}, {50, 5, fewLarge}} {
		if b.quick {
			size.rounds = 2
		}
		text := filepath.Join(folder, fmt.Sprintf("%d-mebibytes", size.mebibytes))
		if err := writeText(text, size.mebibytes<<20); err != nil {
			return err
		}
		c := &contest{command: "cat " + text, clients: 1, describe: fmt.Sprintf("%d MiB of output", size.mebibytes), perRound: size.perRound}
		if err := b.compareOutputs(c, wide, size.rounds); err != nil {
			return err
		}
	}
	return nil
}

// writeText writes lines as a build or a log has them, in which JSON escapes the line ends alone.
func writeText(path string, size int) error {
	line := []byte("2026-11-23T11:00:00Z host service[1234]: what was done, to what, and how long it took\n")
	if err := os.WriteFile(path, bytes.Repeat(line, size/len(line)+1)[:size], 0o644); err != nil {
		return fmt.Errorf("cannot write what is put out: %w", err)
	}
	return nil
}

func (b *bench) compareOutputs(c *contest, wide *daemon, rounds int) error {
	for _, who := range b.contestants {
		switch who.rank {
		case limit:
			continue
		case ours:
			who = b.asContestant(wide)
		}
		s := who.side(c.command, c.clients, c.perRound)
		s.order.Commands, s.watched = c.perRound, true
		c.sides = append(c.sides, s)
	}
	if err := c.run(rounds); err != nil {
		return fmt.Errorf("%w\n%s", err, wide.lastWords())
	}
	b.judgeOutputs(c)
	b.report.large = append(b.report.large, c)
	return nil
}

// judgeOutputs compares with the best peer in each respect.
func (b *bench) judgeOutputs(c *contest) {
	tried := c.the(ours)
	for _, p := range c.peers() {
		ratio := tried.over(p, ratioOfElapsed)
		b.report.figure(c.describe+", time over "+p.name+"'s", ratio.String()+" x", "<= 1 x", ratio.median <= 1)
		if c.perRound == fewLarge && tried.peak > 0 && p.peak > 0 {
			ratio := float64(tried.peak) / float64(p.peak)
			b.report.figure(c.describe+", peak RSS over "+p.name+"'s", fmt.Sprintf("%.2f x", ratio), "< 0.5 x", ratio < 0.5)
		}
	}
	for _, s := range c.sides {
		if s.failed != nil {
			b.report.detail("%-14s failed: %v", s.name, s.failed)
			continue
		}
		b.report.detail("%-14s %.1f ms each, peak RSS of what serves: %s", s.name, 1e3*s.spread(latency).median, s.peakText())
	}
}

// muchMemory must be free for a peer that may keep several copies.
const muchMemory = 7 * int64(muchOutput)

// muchOutput has one command write more than anybody wants back.
func (b *bench) muchOutput() error {
	for _, c := range slices.Backward(b.contestants) { // webhook, which takes the most memory, after OpenSSH
		var err error
		switch c.rank {
		case peer:
			b.muchOutputOfPeer(c)
		case ours:
			err = b.muchOutputOfDaemon(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) muchOutputOfDaemon(c *contestant) error {
	took, p, err := writeMuch(c)
	if err != nil {
		return err
	}
	b.report.figure("2 GiB of output, peak RSS of both over idle", megabytes(p.growth), "<= 64 MB", p.growth <= outputReach)
	b.report.fact("2 GiB of output, answered", fmt.Sprintf("after %.2f s with %s, the rest counted and dropped", took.Elapsed.Seconds(), megabytes(took.Bytes)))
	return nil
}

func (b *bench) muchOutputOfPeer(c *contestant) {
	what := "2 GiB of output, " + c.name
	if room := available(); room < muchMemory {
		b.report.missing(what, "", fmt.Sprintf("it may keep several copies, and only %s of memory are free", megabytes(room)))
		return
	}
	took, p, err := writeMuch(c)
	if err != nil {
		b.report.missing(what, "", err.Error())
		return
	}
	b.report.fact(what+", peak RSS over idle", megabytes(p.growth))
	b.report.fact(what+", answered", fmt.Sprintf("after %.2f s with %s", took.Elapsed.Seconds(), megabytes(took.Bytes)))
}

func writeMuch(c *contestant) (took outcome, p peaks, err error) {
	p, err = watch(c.serving(), func() (err error) {
		took, err = c.worker.do(c.order(fmt.Sprintf("head -c %d /dev/zero", muchOutput), 1, 1))
		return err
	})
	return took, p, err
}
