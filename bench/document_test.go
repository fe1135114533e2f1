package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func outcomeOf(milliseconds, commands int) outcome {
	each := time.Duration(milliseconds) * time.Millisecond
	return outcome{Elapsed: each * time.Duration(commands), Median: each, P99: 2 * each}
}

func example() *report {
	var r report
	for _, clients := range []int{1, 4, 16, 64} {
		c := &contest{command: "true", clients: clients, describe: "`true`, " + plural(clients, "client")}
		for i, name := range []string{"os/exec loop", "daemon", "<peer>"} {
			s := (&contestant{name: name, rank: []rank{yardstick, ours, peer}[i]}).side("true", clients, 10)
			for round := range 3 {
				s.rounds = append(s.rounds, outcomeOf(1+i+round, 10))
			}
			c.sides = append(c.sides, s)
		}
		r.contests = append(r.contests, c)
	}
	r.figures = []figure{{"what was missed", "2.00 x", "<= 1 x", "MISSED"}, {"what was met", "1.00 x", "<= 1 x", "met"}}
	return &r
}

func TestTheDocumentHasEachContestantsMediansAndSaysWhatWasMissed(t *testing.T) {
	text := example().document("a host", []string{"webhook 2.8.0"})
	for _, want := range []string{
		"on a host.", "Peers: webhook 2.8.0.", "## `true`, 1 client\n", "## `true`, 64 clients\n",
		"| daemon | 3000 (2000..4000) | 6000 (4000..8000) | 333 (250..500) |",
		"| what was missed | 2.00 x | <= 1 x | **MISSED** |", "| what was met | 1.00 x | <= 1 x | met |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\n\n\n") {
		t.Errorf("two empty lines in a row in\n%s", text)
	}
}

func TestWhoFailedIsInNoRatioAndIsSaid(t *testing.T) {
	r := example()
	failed := r.contests[0].sides[2]
	failed.failed, failed.rounds = errors.New("gone"), nil
	if n := len(r.contests[0].peers()); n != 0 {
		t.Errorf("%d peers are compared with, want none", n)
	}
	if text := r.document("", nil); !strings.Contains(text, "| <peer> | failed | | |") {
		t.Errorf("the document does not say who failed:\n%s", text)
	}
}

func TestThePlotIsWellFormedAndHasALinePerContestantInEachPanel(t *testing.T) {
	decoder, lines := xml.NewDecoder(strings.NewReader(example().plot())), 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "polyline" {
			lines++
			if n := len(strings.Fields(element.Attr[0].Value)); n != 4 {
				t.Errorf("a line has %d points, want one per number of clients, 4", n)
			}
		}
	}
	if lines != 6 {
		t.Errorf("%d lines, want 6", lines)
	}
}

func TestTheAxisIsLogarithmic(t *testing.T) {
	a := axis{1, 100, 0, 200}
	for value, want := range map[float64]float64{1: 0, 10: 100, 100: 200} {
		if got := a.at(value); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g is at %g, want %g", value, got, want)
		}
	}
	if got := (axis{5, 5, 7, 9}).at(5); got != 7 {
		t.Errorf("a single value is at %g, want 7", got)
	}
}

func TestARatioComparesRoundsOfOneTurn(t *testing.T) {
	loop, tried := &side{contestant: &contestant{}}, &side{contestant: &contestant{}}
	for _, noise := range []int{1, 100, 10} { // falls upon both
		loop.rounds = append(loop.rounds, outcomeOf(2*noise, 1))
		tried.rounds = append(tried.rounds, outcomeOf(3*noise, 1))
	}
	if got := tried.over(loop, ratioOfLatency); got.String() != "1.50 (1.50..1.50)" {
		t.Errorf("the ratio is %v, want 1.5 in each round", got)
	}
}
