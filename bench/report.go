package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// report prints figures as they come, and keeps them for the document.
type report struct {
	began    time.Time
	took     time.Duration
	load     [2]string // at the start and at the end
	remark   string    // of who measured
	figures  []figure
	contests []*contest
	large    []*contest
}

// figure is what was measured, the value, what it must reach, and whether it does.
type figure struct{ what, value, reach, verdict string }

func (r *report) figure(what, value, reach string, met bool) {
	verdict := "MISSED"
	if met {
		verdict = "met"
	}
	r.figures = append(r.figures, figure{what, value, reach, verdict})
	fmt.Printf("%-56s %-28s reach %-16s %s\n", what, value, reach, verdict)
}

// fact is a figure that nothing is expected of.
func (r *report) fact(what, value string) {
	r.figures = append(r.figures, figure{what: what, value: value})
	fmt.Printf("%-56s %s\n", what, value)
}

func (r *report) missing(what, reach, why string) {
	r.figures = append(r.figures, figure{what, "not measured: " + why, reach, ""})
	if reach != "" {
		reach = " (reach " + reach + ")"
	}
	fmt.Printf("%-56s not measured: %s%s\n", what, why, reach)
}

// detail is a line below a figure, which nothing is expected of.
func (r *report) detail(format string, args ...any) {
	fmt.Printf("    "+format+"\n", args...)
}

func (r *report) begin() {
	r.began, r.load[0] = time.Now(), load()
	fmt.Printf("%s\nload %s at the start\n", thisHost(), r.load[0])
}

func (r *report) end() {
	r.took, r.load[1] = time.Since(r.began), load()
	fmt.Printf("load %s at the end, after %d s\n", r.load[1], int(r.took.Seconds()))
}

// load says how far the figures can be trusted: above 1 at the start it is other work, which makes them
// noisy.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
