package main

import (
	"fmt"
	"path/filepath"
)

// against compares the daemon with another build of it: the two take turns, round by round.
func (b *bench) against(other, folder string) (err error) {
	defer b.stop()
	if b.client, err = b.startWorker(clientWorker, ""); err != nil {
		return err
	}
	var builds []*runner
	for _, build := range []struct{ name, program string }{
		{"this build", b.program}, {"other build", other},
	} {
		d, err := startDaemon(build.program, b.user, filepath.Join(folder, build.name))
		if err != nil {
			return err
		}
		defer d.stop()
		r := b.runnerOf(d)
		r.name = build.name
		builds = append(builds, r)
	}
	rounds, perRound := 61, 200
	if b.quick {
		rounds = 15
	}
	for _, clients := range []int{1, 4, 16} {
		w := &workload{command: "true", clients: clients, perRound: perRound}
		for _, r := range builds {
			w.series = append(w.series, newSeries(r, w.command, clients, perRound))
		}
		if err := w.run(rounds); err != nil {
			return err
		}
		what := fmt.Sprintf("`true`, %s, ", plural(clients, "client"))
		this, that := w.series[0], w.series[1]
		for name, metric := range map[string]func(*series, roundResult) float64{
			"p50": ratioOfLatency, "p99": ratioOfTail, "throughput": ratioOfThroughput,
		} {
			b.report.fact(what+name+" over other build's", quartiles(this.ratios(that, metric)))
		}
		for _, s := range w.series {
			b.report.detail("%-14s %s", s.name, s.summary())
		}
	}
	return nil
}
