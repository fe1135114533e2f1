package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func resultOf(milliseconds, commands int) roundResult {
	each := time.Duration(milliseconds) * time.Millisecond
	return roundResult{Elapsed: each * time.Duration(commands), Median: each, P99: 2 * each}
}

func exampleReport() *report {
	r := report{build: "commit 0123456789ab"}
	for _, clients := range []int{1, 4, 16, 64} {
		w := &workload{
			command: "true", clients: clients, describe: "`true`, " + plural(clients, "client"),
		}
		for i, name := range []string{"os/exec loop", "daemon", "<peer>"} {
			s := newSeries(
				&runner{name: name, role: []role{baseline, subject, peer}[i]}, "true", clients, 10,
			)
			for round := range 3 {
				s.rounds = append(s.rounds, resultOf(1+i+round, 10))
			}
			w.series = append(w.series, s)
		}
		r.workloads = append(r.workloads, w)
	}
	r.figures = []figure{
		{"above its bound", "2.00 x", "<= 1 x", "MISSED"},
		{"within its bound", "1.00 x", "<= 1 x", "met"},
	}
	return &r
}

func TestDocument_MediansAndMissedTargets(t *testing.T) {
	text := exampleReport().document("a host", "webhook 2.8.0")
	for _, want := range []string{
		"are of commit 0123456789ab, measured", "on a host.", "Peers: webhook 2.8.0.", "## `true`, 1 client\n", "## `true`, 64 clients\n",
		"| daemon | 3000 (2000..4000) | 6000 (4000..8000) | 333 (250..500) |",
		"| above its bound | 2.00 x | <= 1 x | **MISSED** |", "| within its bound | 1.00 x | <= 1 x | met |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q, want it in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\n\n\n") {
		t.Errorf("got two empty lines in a row, want none in\n%s", text)
	}
}

func TestWorkload_FailedPeerIsInNoRatio(t *testing.T) {
	r := exampleReport()
	failed := r.workloads[0].series[2]
	failed.failed, failed.rounds = errors.New("gone"), nil
	if n := len(r.workloads[0].peers()); n != 0 {
		t.Errorf("got %d peers to compare with, want 0", n)
	}
	if text := r.document("", ""); !strings.Contains(text, "| <peer> | failed | | |") {
		t.Errorf("got no row for the failed peer, want one in\n%s", text)
	}
}

func TestSeries_RatioDividesRoundsOfOneTurn(t *testing.T) {
	loop, daemon := &series{runner: &runner{}}, &series{runner: &runner{}}
	for _, noise := range []int{1, 100, 10} { // affects both of a turn
		loop.rounds = append(loop.rounds, resultOf(2*noise, 1))
		daemon.rounds = append(daemon.rounds, resultOf(3*noise, 1))
	}
	if got := daemon.over(loop, ratioOfLatency).String(); got != "1.50 (1.50..1.50)" {
		t.Errorf("got a ratio of %s, want 1.50 in each round", got)
	}
}

func TestBuildOf_FileWithoutARecord(t *testing.T) {
	t.Setenv("PATH", "") // no git
	if got := buildOf("report_test.go"); got != "an unknown commit" {
		t.Errorf("got %q, want an unknown commit", got)
	}
}

func TestFleetDocument_RemarkAndFigures(t *testing.T) {
	r := exampleReport()
	r.python, r.remark = "3.11.7", "Other work ran too."
	text := r.fleetDocument("a host")
	for _, want := range []string{
		"are of commit 0123456789ab, measured", " on a host. Load", "at the end.\nOther work ran too.\nPython 3.11.7.\n",
		"| above its bound | 2.00 x | <= 1 x | **MISSED** |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q, want it in\n%s", want, text)
		}
	}
}
