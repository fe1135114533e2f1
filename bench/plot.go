package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The plot has two panels over the number of clients, for `true`: commands per second, and p99. Both
// axes are logarithmic, as contestants differ by an order of magnitude.
const (
	panelWidth  = 360.0
	panelHeight = 260.0
	margin      = 60.0
	legendWidth = 130.0
)

// curve is one contestant's line through points of clients and value.
type curve struct {
	name   string
	points [][2]float64
}

func (r *report) plot() string {
	var throughput, tails []curve
	for _, c := range r.contests {
		if c.command != "true" {
			continue
		}
		for _, s := range c.sides {
			if s.failed == nil {
				throughput = extend(throughput, s.name, float64(c.clients), s.spread(s.throughput).median)
				tails = extend(tails, s.name, float64(c.clients), 1e3*s.spread(tail).median)
			}
		}
	}
	width, height := 2*panelWidth+3*margin+legendWidth, panelHeight+2*margin
	var d strings.Builder
	fmt.Fprintf(&d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&d, `<rect width="%.0f" height="%.0f" fill="white"/>`+"\n", width, height)
	drawPanel(&d, margin, "`true`: commands per second (more is better)", throughput)
	drawPanel(&d, 2*margin+panelWidth, "`true`: p99 in ms (less is better)", tails)
	drawLegend(&d, 2*(margin+panelWidth)+20, throughput)
	d.WriteString("</svg>\n")
	return d.String()
}

func extend(curves []curve, name string, x, y float64) []curve {
	i := slices.IndexFunc(curves, func(c curve) bool { return c.name == name })
	if i < 0 {
		return append(curves, curve{name, [][2]float64{{x, y}}})
	}
	curves[i].points = append(curves[i].points, [2]float64{x, y})
	return curves
}

// axis maps values to pixels, logarithmically.
type axis struct{ least, most, from, to float64 }

func (a axis) at(value float64) float64 {
	if a.most <= a.least {
		return a.from
	}
	return a.from + (a.to-a.from)*math.Log(value/a.least)/math.Log(a.most/a.least)
}

func axisOf(curves []curve, which int, from, to float64) axis {
	a := axis{math.Inf(1), math.Inf(-1), from, to}
	for _, c := range curves {
		for _, p := range c.points {
			a.least, a.most = min(a.least, p[which]), max(a.most, p[which])
		}
	}
	return a
}

// ticks are 1, 2 and 5 times powers of ten within the axis.
func (a axis) ticks() (values []float64) {
	for power := math.Pow(10, math.Floor(math.Log10(a.least))); power <= a.most; power *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			if v := digit * power; v >= a.least && v <= a.most {
				values = append(values, v)
			}
		}
	}
	return values
}

func drawPanel(d *strings.Builder, left float64, title string, curves []curve) {
	top, bottom := margin, margin+panelHeight
	fmt.Fprintf(d, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", left, top-20, html.EscapeString(title))
	fmt.Fprintf(d, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" fill="none" stroke="#999"/>`+"\n", left, top, panelWidth, panelHeight)
	if len(curves) == 0 {
		return
	}
	x, y := axisOf(curves, 0, left, left+panelWidth), axisOf(curves, 1, bottom-10, top+10)
	for _, v := range y.ticks() {
		fmt.Fprintf(d, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#ddd"/>`, left, left+panelWidth, y.at(v), y.at(v))
		fmt.Fprintf(d, `<text x="%.0f" y="%.1f" text-anchor="end">%g</text>`+"\n", left-6, y.at(v)+4, v)
	}
	for _, p := range widest(curves).points {
		fmt.Fprintf(d, `<text x="%.1f" y="%.0f" text-anchor="middle">%g</text>`+"\n", x.at(p[0]), bottom+16, p[0])
	}
	fmt.Fprintf(d, `<text x="%.0f" y="%.0f" text-anchor="middle">clients</text>`+"\n", left+panelWidth/2, bottom+34)
	for _, c := range curves {
		drawCurve(d, c, x, y)
	}
}

func widest(curves []curve) curve {
	return slices.MaxFunc(curves, func(a, b curve) int { return cmp.Compare(len(a.points), len(b.points)) })
}

func drawCurve(d *strings.Builder, c curve, x, y axis) {
	var points []string
	for _, p := range c.points {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(p[0]), y.at(p[1])))
	}
	fmt.Fprintf(d, `<polyline points="%s" fill="none" %s/>`+"\n", strings.Join(points, " "), stroke(c.name))
}

func drawLegend(d *strings.Builder, left float64, curves []curve) {
	for i, c := range curves {
		at := margin + 10 + 20*float64(i)
		fmt.Fprintf(d, `<line x1="%.0f" x2="%.0f" y1="%.0f" y2="%.0f" %s/>`, left, left+24, at, at, stroke(c.name))
		fmt.Fprintf(d, `<text x="%.0f" y="%.0f">%s</text>`+"\n", left+30, at+4, html.EscapeString(c.name))
	}
}

// stroke has the limits dashed and grey, and the daemon thick.
func stroke(name string) string {
	styles := map[string]string{
		"daemon": "#d00000;3;", "os/exec loop": "#222222;2;", "webhook": "#1060c0;2;", "OpenSSH": "#108040;2;",
		"vfork in C": "#888888;1;6 3", "memfd loop": "#888888;1;2 3", "loop on socket": "#888888;1;8 3 2 3", "two-process loop": "#888888;1;8 3 2 3 2 3",
	}
	style, known := styles[name]
	if !known {
		style = "#000000;1;"
	}
	parts := strings.Split(style, ";")
	return fmt.Sprintf(`stroke="%s" stroke-width="%s" stroke-dasharray="%s"`, parts[0], parts[1], parts[2])
}
