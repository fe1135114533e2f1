package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
)

// maxKeysRatio bounds the cost of a request to a daemon with manyKeys over one with one key: each
// signature is computed with every key.
const maxKeysRatio = 1.10

const manyKeys = 100 // with SECRET_KEY

// keysOnly measures nothing but keys.
func (b *bench) keysOnly(folder string) (err error) {
	defer b.stop()
	if b.client, err = b.startWorker(clientWorker, ""); err != nil {
		return err
	}
	return b.keys(folder)
}

// keys compares a daemon that has many keys with one that has one. The two take turns.
func (b *bench) keys(folder string) error {
	var tables []string
	for i := range manyKeys - 1 {
		tables = append(tables, fmt.Sprintf("[KEY.k%d]", i), fmt.Sprintf("SECRET = %q", rand.Text()))
	}
	rounds, perRound := 31, 200
	if b.quick {
		rounds = 7
	}
	w := &workload{command: "true", clients: 1}
	for _, c := range []struct {
		name     string
		settings []string
	}{{"one-key", nil}, {"many-keys", tables}} {
		d, err := startDaemon(b.program, b.user, filepath.Join(folder, c.name), c.settings...)
		if err != nil {
			return err
		}
		defer d.stop()
		w.series = append(w.series, newSeries(b.runnerOf(d), w.command, w.clients, perRound))
	}
	if err := w.run(rounds); err != nil {
		return err
	}
	one, many := w.series[0], w.series[1]
	ratio := many.over(one, ratioOfLatency)
	b.report.figure(
		fmt.Sprintf("p50 with %d keys over 1 key", manyKeys), ratio.String()+" x", "<= 1.10 x",
		ratio.median <= maxKeysRatio,
	)
	b.report.detail("quartiles %s", quartiles(many.ratios(one, ratioOfLatency)))
	b.report.detail("%-14s %s", "1 key", one.summary())
	b.report.detail("%-14s %s", fmt.Sprintf("%d keys", manyKeys), many.summary())
	return nil
}
