//go:build controllers

package exec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Weights are in the files of a command's cgroup, those of others stay at the default, and the
// daemon's cgroup weighs as much as all commands together.
func TestControllers_WeightFiles(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	c := limited("sleep 3000", Limits{CPUWeight: 7, IOWeight: 550})
	p, plain := start(t, r, c), start(t, r, command("sleep 3000"))
	_, costErr := os.Stat(filepath.Join(cagePath(), ioWeightFile))
	_, bfqErr := os.Stat(filepath.Join(cagePath(), bfqWeightFile))
	t.Logf("the kernel has io.weight: %v, io.bfq.weight: %v", costErr == nil, bfqErr == nil)
	for name, want := range map[string]string{
		p.cgroup.name + "/cpu.weight": "7", plain.cgroup.name + "/cpu.weight": "100",
		"cpu.weight": "100", "../daemon/cpu.weight": "100",
		p.cgroup.name + "/" + ioWeightFile: "default 550", "../daemon/" + ioWeightFile: "default 100",
		p.cgroup.name + "/" + bfqWeightFile: "default 140",
	} {
		missing := costErr != nil && strings.HasSuffix(name, ioWeightFile) ||
			bfqErr != nil && strings.HasSuffix(name, bfqWeightFile)
		if !missing && fileOf(t, name) != want {
			t.Errorf("%s: got %q, want %q", name, fileOf(t, name), want)
		}
	}
	if by, why := r.Hold(c.Limits); (by == ByCgroup) != (costErr == nil || bfqErr == nil) ||
		(by == ByCgroup) != (why == nil) {
		t.Errorf("got %q, %v; want by cgroup if the kernel has a weight of I/O, else why", by, why)
	}
	p.End(Cancelled)
	plain.End(Cancelled)
	if got := finish(t, plain); got.LimitsBy != ByNone {
		t.Errorf("the plain command: got limits by %q, want none", got.LimitsBy)
	}
	finish(t, p)
}

// Two busy commands share one processor by their weights.
func TestControllers_WeightsShare(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	busy := "taskset -c 0 /bin/sh -c 'while :; do :; done'"
	light := start(t, r, limited(busy, Limits{CPUWeight: 100}))
	heavy := start(t, r, limited(busy, Limits{CPUWeight: 1000}))
	used := func(p *Process) time.Duration {
		u, err := p.cgroup.used()
		if err != nil {
			t.Error(err)
		}
		return u.UserTime + u.SystemTime
	}
	testkit.Eventually(t, "both are busy", func() bool {
		return used(light) > 200*time.Millisecond && used(heavy) > 200*time.Millisecond
	})
	light0, heavy0 := used(light), used(heavy)
	// A machine that stalls charges one of them for a while: only a long time tells.
	var lighter, heavier time.Duration
	defer func() {
		t.Logf("weights of 1 to 10: they used a processor for %v and %v", lighter, heavier)
	}()
	testkit.Eventually(t, "the heavy one gets far more than the light one", func() bool {
		lighter, heavier = used(light)-light0, used(heavy)-heavy0
		return lighter+heavier > 4*time.Second && heavier > 4*lighter
	})
	for _, p := range []*Process{light, heavy} {
		p.End(Cancelled)
		finish(t, p)
	}
}
