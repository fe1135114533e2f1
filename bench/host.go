package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// thisHost describes what was measured on, without naming it.
func thisHost() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-") // what follows names a distribution's or a host's own build
	return fmt.Sprintf("%d cores (%s), %.0f GB of memory, Linux %s, %s", runtime.NumCPU(), model(),
		float64(memory("MemTotal"))/1e9, version, runtime.Version())
}

func model() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, found := bytes.Cut(text, []byte("model name"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if !found {
		return runtime.GOARCH
	}
	return strings.TrimSpace(strings.TrimLeft(string(line), "\t :"))
}

// memory reads one of the lines of /proc/meminfo, in bytes.
func memory(name string) int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	return 1024 * kilobytes(text, name)
}

func available() int64 { return memory("MemAvailable") }

// versions are those of the peers that are here.
func versions() []string {
	var found []string
	for _, arguments := range [][]string{{"webhook", "-version"}, {"ssh", "-V"}} {
		if out, err := exec.Command(arguments[0], arguments[1:]...).CombinedOutput(); err == nil {
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), ",")
			found = append(found, strings.Replace(first, "webhook version", "webhook", 1))
		}
	}
	return found
}
