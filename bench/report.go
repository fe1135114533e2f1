package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// printFigure is one line: what, the value, what it must reach, and whether it does.
func printFigure(what, value, reach string, met bool) {
	verdict := "MISSED"
	if met {
		verdict = "met"
	}
	fmt.Printf("%-46s %-32s reach %-14s %s\n", what, value, reach, verdict)
}

func printNotMeasured(what, reach, why string) {
	fmt.Printf("%-46s not measured: %s (reach %s)\n", what, why, reach)
}

// printDetail is a line below a figure, which nothing is expected of.
func printDetail(format string, args ...any) {
	fmt.Printf("    "+format+"\n", args...)
}

// printHost says how far the figures can be trusted: a load above 1 at the start is other work, which
// makes them noisy.
func printHost(when string) {
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	fmt.Printf("%d cores, load %s %s\n", runtime.NumCPU(), load, when)
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
