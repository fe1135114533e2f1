package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	hugeSize        = 2 << 30
	maxOutputGrowth = 64_000_000
	fewLarge        = 2 // of 50 MiB in a round
)

// largeOutputs measures output that is returned whole, as JSON in one answer, by a daemon with a
// larger MAX_OUTPUT than the default.
func (b *bench) largeOutputs(folder string) error {
	wide, err := startDaemon(
		b.program, b.user, filepath.Join(folder, "wide"), fmt.Sprintf("MAX_OUTPUT = %d", 64<<20),
	)
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
		c := &workload{
			command: "cat " + text, clients: 1,
			describe: fmt.Sprintf("%d MiB of output", size.mebibytes), perRound: size.perRound,
		}
		if err := b.compareOutputs(c, wide, size.rounds); err != nil {
			return err
		}
	}
	return nil
}

// writeText writes lines like those of a log, in which JSON escapes the line ends alone.
func writeText(path string, size int) error {
	line := []byte(
		"2026-11-23T11:00:00Z host service[1234]: what was done, to what, and how long it took\n",
	)
	if err := os.WriteFile(path, bytes.Repeat(line, size/len(line)+1)[:size], 0o644); err != nil {
		return fmt.Errorf("cannot write the text: %w", err)
	}
	return nil
}

func (b *bench) compareOutputs(c *workload, wide *daemon, rounds int) error {
	for _, who := range b.runners {
		switch who.role {
		case subject:
			who = b.runnerOf(wide)
		}
		s := newSeries(who, c.command, c.clients, c.perRound)
		s.task.Commands, s.sampled = c.perRound, true
		c.series = append(c.series, s)
	}
	if err := c.run(rounds); err != nil {
		return fmt.Errorf("%w\n%s", err, wide.logTail())
	}
	b.evaluateOutputs(c)
	b.report.large = append(b.report.large, c)
	return nil
}

// evaluateOutputs reports time and memory over those of each peer.
func (b *bench) evaluateOutputs(c *workload) {
	daemon := c.only(subject)
	for _, p := range c.peers() {
		ratio := daemon.over(p, ratioOfElapsed)
		b.report.figure(
			c.describe+", time over "+p.name+"'s", ratio.String()+" x", "<= 1 x", ratio.median <= 1,
		)
		if c.perRound == fewLarge && daemon.peak > 0 && p.peak > 0 {
			ratio := float64(daemon.peak) / float64(p.peak)
			b.report.figure(
				c.describe+", peak RSS over "+p.name+"'s", fmt.Sprintf("%.2f x", ratio), "< 0.5 x",
				ratio < 0.5,
			)
		}
	}
	for _, s := range c.series {
		if s.failed != nil {
			b.report.detail("%-14s failed: %v", s.name, s.failed)
			continue
		}
		b.report.detail(
			"%-14s %.1f ms each, peak RSS of the server: %s", s.name, 1e3*s.spread(latency).median,
			s.peakText(),
		)
	}
}

// minFreeMemory is needed for a peer that may keep several copies, in bytes.
const minFreeMemory = 7 * int64(hugeSize)

// hugeOutput measures one command that writes 2 GiB.
func (b *bench) hugeOutput() error {
	for _, c := range slices.Backward(b.runners) { // webhook, which takes the most memory, after OpenSSH
		var err error
		switch c.role {
		case peer:
			b.hugeOutputOfPeer(c)
		case subject:
			err = b.hugeOutputOfDaemon(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) hugeOutputOfDaemon(c *runner) error {
	took, p, err := writeHuge(c)
	if err != nil {
		return err
	}
	b.report.figure(
		"2 GiB of output, peak RSS of both over idle", megabytes(p.growth), "<= 64 MB",
		p.growth <= maxOutputGrowth,
	)
	b.report.fact(
		"2 GiB of output, answered",
		fmt.Sprintf(
			"after %.2f s with %s, the rest counted and dropped", took.Elapsed.Seconds(),
			megabytes(took.Bytes),
		),
	)
	return nil
}

func (b *bench) hugeOutputOfPeer(c *runner) {
	what := "2 GiB of output, " + c.name
	if room := memory("MemAvailable"); room < minFreeMemory {
		b.report.missing(
			what, "",
			fmt.Sprintf(
				"it may keep several copies, and only %s of memory are free", megabytes(room),
			),
		)
		return
	}
	took, p, err := writeHuge(c)
	if err != nil {
		b.report.missing(what, "", err.Error())
		return
	}
	b.report.fact(what+", peak RSS over idle", megabytes(p.growth))
	b.report.fact(
		what+", answered",
		fmt.Sprintf("after %.2f s with %s", took.Elapsed.Seconds(), megabytes(took.Bytes)),
	)
}

func writeHuge(c *runner) (took roundResult, p peaks, err error) {
	p, err = sample(c.serving(), func() (err error) {
		took, err = c.worker.do(c.task(fmt.Sprintf("head -c %d /dev/zero", hugeSize), 1, 1))
		return err
	})
	return took, p, err
}
