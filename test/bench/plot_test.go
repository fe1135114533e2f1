package main

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"
)

// The committed plot is the one of the committed figures: `go run -C test/bench . -plot` draws it.
func TestPlot_IsOfTheDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/benchmark.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := plot(string(document))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/benchmark.svg")
	if err != nil || string(got) != want {
		t.Errorf("docs/benchmark.svg (%v) is not drawn from docs/benchmark.md; run: go run -C test/bench . -plot", err)
	}
	if rows := plotRows(string(document)); len(rows) != 4*4 {
		t.Errorf("got %d rows, want 16: the loop, the daemon and two peers with 1, 4, 16 and 64 clients", len(rows))
	}
}

func TestPlot_RatiosToTheLoop(t *testing.T) {
	picture, err := plot(exampleReport().document("", ""))
	if err != nil {
		t.Fatal(err)
	}
	// The medians of the loop are 2 ms and 500 per second, those of the daemon 3 and 333.
	for _, want := range []string{">1.5 daemon<", ">0.67 daemon<", ">2.0 &lt;peer&gt;<", ">0.50 &lt;peer&gt;<", ">64 clients<"} {
		if !strings.Contains(picture, want) {
			t.Errorf("got no %q, want it in\n%s", want, picture)
		}
	}
	if err := xml.Unmarshal([]byte(picture), new(struct{})); err != nil {
		t.Errorf("got %v, want XML", err)
	}
	for _, without := range []string{"", strings.ReplaceAll(exampleReport().document("", ""), "os/exec loop |", "another |")} {
		if _, err := plot(without); err == nil {
			t.Errorf("got a plot without a loop, want an error, of\n%s", without)
		}
	}
}

// Every table of the page is between the marks of one that a command writes, and its figures are
// those of the committed benchmark.md.
func TestWhyNot_TablesAreMeasured(t *testing.T) {
	page, err := os.ReadFile("../../docs/" + whyNot)
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/benchmark.md")
	if err != nil {
		t.Fatal(err)
	}
	want := figuresTable(string(document))
	if strings.Contains(want, "not measured") || !strings.Contains(string(page), "<!-- figures -->\n\n"+want+"\n<!-- end") {
		t.Errorf("docs/why-not.md has other figures than docs/benchmark.md; run: go run -C test/bench . -plot; want\n%s", want)
	}
	written := ""
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "<!-- ") {
			written = strings.Trim(line, "<!-> \n")
		} else if strings.HasPrefix(line, "|") && written != "facts" && written != "figures" {
			t.Errorf("docs/why-not.md has a row that no command writes: %s", line)
		}
	}
}
