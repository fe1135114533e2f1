package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// plotCommand is the command whose figures are drawn.
const plotCommand = "true"

// plotRow is one bar of each panel: a row of the document's tables.
type plotRow struct {
	clients, name       string
	latency, throughput float64 // p50 in µs, commands per second
}

var (
	plotHeading = regexp.MustCompile("^## `(.+)`, ([0-9]+) clients?$")
	plotFigures = regexp.MustCompile(`^\| ([^|]+) \| ([0-9]+) \([^|]+\| [^|]+\| ([0-9]+) \(`)
)

// plotRows reads the medians of plotCommand from the text of benchmark.md.
func plotRows(document string) (rows []plotRow) {
	command, clients := "", ""
	for line := range strings.Lines(document) {
		line = strings.TrimSuffix(line, "\n")
		if m := plotHeading.FindStringSubmatch(line); m != nil {
			command, clients = m[1], m[2]
		} else if m := plotFigures.FindStringSubmatch(line); m != nil && command == plotCommand {
			latency, _ := strconv.ParseFloat(m[2], 64)
			throughput, _ := strconv.ParseFloat(m[3], 64)
			rows = append(rows, plotRow{clients, m[1], latency, throughput})
		}
	}
	return rows
}

// redraw writes benchmark.svg, and the figures in why-not.md, from benchmark.md of the folder.
func redraw(folder string) error {
	document, err := os.ReadFile(filepath.Join(folder, "benchmark.md"))
	if err != nil {
		return fmt.Errorf("cannot draw the figures: %w", err)
	}
	picture, err := plot(string(document))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "benchmark.svg"), []byte(picture), 0o644); err != nil {
		return fmt.Errorf("cannot draw the figures: %w", err)
	}
	return rewriteFigures(folder, string(document))
}

// Pixels of the plot.
const (
	plotBar, plotGap    = 17, 14 // height of a bar, space between groups of bars
	plotTop, plotLabels = 66, 86 // above the bars, and left of them
	plotPanel           = 400    // width of one of the two panels
	plotLongest         = 250    // width of the longest bar of a panel
)

// plot draws the document's figures of plotCommand, each divided by that of the loop with the same
// number of clients.
func plot(document string) (string, error) {
	rows := plotRows(document)
	loop := make(map[string]plotRow)
	var bars []plotRow
	for _, r := range rows {
		if r.name == "os/exec loop" {
			loop[r.clients] = r
		} else {
			bars = append(bars, r)
		}
	}
	most := [2]float64{1, 1} // of each panel, in times the loop's
	for i, r := range bars {
		base, known := loop[r.clients]
		if !known || base.latency == 0 || base.throughput == 0 {
			return "", fmt.Errorf("cannot draw the figures: no loop with %s clients", r.clients)
		}
		bars[i].latency, bars[i].throughput = r.latency/base.latency, r.throughput/base.throughput
		most = [2]float64{max(most[0], bars[i].latency), max(most[1], bars[i].throughput)}
	}
	if len(bars) == 0 {
		return "", errors.New("cannot draw the figures: the document has none")
	}
	return drawBars(bars, most), nil
}

func drawBars(bars []plotRow, most [2]float64) string {
	var boxes, texts strings.Builder
	y, clients := plotTop, ""
	for _, r := range bars {
		if r.clients != clients {
			if clients != "" {
				y += plotGap
			}
			clients = r.clients
			fmt.Fprintf(&texts, `<text class="quiet" x="8" y="%d">%s</text>`+"\n", y+13, clientCount(clients))
		}
		for panel, value := range []float64{r.latency, r.throughput} {
			x, width := plotLabels+panel*plotPanel, max(1, int(value/most[panel]*plotLongest))
			fmt.Fprintf(
				&boxes, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`+"\n",
				plotClass(r.name), x, y+1, width, plotBar-3,
			)
			fmt.Fprintf(&texts, `<text x="%d" y="%d">%s `, x+width+6, y+13, plotNumber(value))
			_ = xml.EscapeText(&texts, []byte(r.name))
			texts.WriteString("</text>\n")
		}
		y += plotBar
	}
	for panel := range most {
		x := plotLabels + panel*plotPanel + int(plotLongest/most[panel])
		fmt.Fprintf(&boxes, `<path class="loop" d="M%d %dV%d"/>`+"\n", x, plotTop-6, y+4)
	}
	height := y + 34
	return fmt.Sprintf(plotHead, height, height) + boxes.String() + texts.String() +
		fmt.Sprintf(plotFoot, plotLabels, y+24)
}

func clientCount(n string) string {
	if n == "1" {
		return "1 client"
	}
	return n + " clients"
}

func plotClass(name string) string {
	if name == "daemon" {
		return "daemon"
	}
	return "peer"
}

// plotNumber has two significant digits, or all before the point.
func plotNumber(value float64) string {
	switch {
	case value < 1:
		return fmt.Sprintf("%.2f", value)
	case value < 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

const plotHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 850 %d" width="850" height="%d" role="img" aria-labelledby="title desc">
<title id="title">Time and throughput of this daemon, webhook and OpenSSH</title>
<desc id="desc">Drawn by make bench from the table of the command true in benchmark.md: medians of the daemon, webhook and OpenSSH, divided by the median of a bare loop of os/exec with as many clients.</desc>
<style>
:root{color-scheme:light dark}
text{font:13px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328;stroke:#ffffff;stroke-width:3px;paint-order:stroke}
.quiet{fill:#59636e}.name{font-weight:600;font-size:14px}
.daemon{fill:#0969da}.peer{fill:#848d97}.loop{fill:none;stroke:#bc4c00;stroke-width:1.5;stroke-dasharray:4 3}
.back{fill:#ffffff}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc;stroke:#0d1117}.quiet{fill:#9198a1}.daemon{fill:#4493f8}.peer{fill:#656c76}.loop{stroke:#db6d28}.back{fill:#0d1117}}
</style>
<rect class="back" width="100%%" height="100%%" rx="6"/>
<text class="name" x="86" y="22">Time of a call (p50)</text><text class="quiet" x="86" y="42">times that of a bare loop; shorter is better</text>
<text class="name" x="486" y="22">Commands per second</text><text class="quiet" x="486" y="42">times those of a bare loop; longer is better</text>
`

const plotFoot = `<text class="quiet" x="%d" y="%d">The dashed line is the loop, os/exec without a network. The command is true; all are over loopback.</text>
</svg>
`
