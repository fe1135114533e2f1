//go:build controllers

package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/test/testkit"
)

// These tests need the memory, pids and cpu controllers in cgroups of version 2, which a container
// does not have. They have a build tag of their own; test/e2e/limits_test.go runs them in a machine
// with a kernel of its own, as root.

// inControlledCage is inCage, with all controllers delegated.
func inControlledCage(t *testing.T) bool {
	t.Helper()
	if cage.way == "" {
		testkit.NeedRoot(t)
		mount, err := unifiedMount()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range controllerNames {
			err := os.WriteFile(filepath.Join(mount, "cgroup.subtree_control"),
				[]byte("+"+name), 0)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return inCage(t, withCgroups, controllersVariable+"=yes")
}

// fileOf reads a file of the folder of commands, or of one cgroup in it.
func fileOf(t *testing.T, name string) string {
	t.Helper()
	content, err := readFile(cage.cgroups.jobs, name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(content))
}

func setTotals(t *testing.T, totals Totals) {
	t.Helper()
	if err := cage.cgroups.SetTotals(totals); err != nil {
		t.Fatal(err)
	}
}

const (
	uses100MB = "head -c 100000000 /dev/zero | tail -n 1 | wc -c; echo on"
	mebibyte  = 1 << 20
)

func TestControllers_Memory(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	other := start(t, r, command("sleep 3000"))
	p := start(t, r, limited("ulimit -v; "+uses100MB, Limits{Memory: 64 * mebibyte}))
	got := finish(t, p)
	if out := text(&got.Stdout); out != "unlimited\n" || got.Signal != syscall.SIGKILL {
		t.Errorf("got %q, signal %v; want \"unlimited\\n\", SIGKILL", out, got.Signal)
	}
	if !got.OOMKilled || got.LimitsBy != ByCgroup {
		t.Errorf("got killed for memory %v, limits by %q; want true, cgroup",
			got.OOMKilled, got.LimitsBy)
	}
	_, err := os.Stat(filepath.Join(cagePath(), other.cgroup.name, "memory.peak"))
	if hasPeak := err == nil || !os.IsNotExist(err); hasPeak &&
		(got.MemoryPeak > 64*mebibyte || got.MemoryPeak < 32*mebibyte) {
		t.Errorf("got peak %d, want 32 to 64 MiB", got.MemoryPeak)
	}
	runsWell(t, r)
	if isDone(other) {
		t.Error("another command has ended")
	}
	other.End(Cancelled)
	if result := finish(t, other); result.OOMKilled || result.LimitsBy != ByNone {
		t.Errorf("the other command: got %v, %q; want false, none",
			result.OOMKilled, result.LimitsBy)
	}
}

func TestControllers_Unset(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	finish(t, start(t, newTestRunner(t), command("true")))
	if got := fileOf(t, "cgroup.subtree_control"); got != "" {
		t.Errorf("got the controllers %q, want none as nothing has a limit", got)
	}
}

func TestControllers_Processes(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	const many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 3000 & done; echo all"
	c := limited(many, Limits{Processes: 10})
	c.EndWithShell = true
	got := finish(t, start(t, r, c))
	if out := text(&got.Stdout); strings.Contains(out, "all") || got.LimitsBy != ByCgroup {
		t.Errorf("got %q, %v, limits by %q; want a fork that failed, cgroup",
			out, text(&got.Stderr), got.LimitsBy)
	}
	// 9 of each command: the limit is of each command, and not of their user.
	c.Text = strings.Replace(many, "9 10 11 12", "", 1)
	for range 4 {
		if got := finish(t, start(t, r, c)); text(&got.Stdout) != "all\n" {
			t.Errorf("got %q, %q; want \"all\\n\"", text(&got.Stdout), text(&got.Stderr))
		}
	}
}

func TestControllers_Processors(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	p := start(t, r, limited("while :; do :; done", Limits{MilliCPU: 250}))
	if got := fileOf(t, p.cgroup.name+"/cpu.max"); got != "25000 100000" {
		t.Errorf("got cpu.max %q, want 25000 100000", got)
	}
	testkit.Eventually(t, "it is throttled", func() bool {
		stat, _ := readFile(cage.cgroups.jobs, p.cgroup.name+"/cpu.stat")
		return numberAfter(stat, "nr_throttled ") > 0
	})
	p.End(Cancelled)
	if got := finish(t, p); got.LimitsBy != ByCgroup || got.Ended != Cancelled {
		t.Errorf("got limits by %q, ended %v; want cgroup, cancelled", got.LimitsBy, got.Ended)
	}
}

// Commands that fill a file system in memory and end leave nothing that could be killed but the
// next newborn. The daemon, whose memory that shares, must not die of it.
func TestControllers_NewbornWithoutMemory(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	setTotals(t, Totals{Memory: 32 * mebibyte})
	file := filepath.Join("/dev/shm", "fill-"+strconv.Itoa(os.Getpid()))
	t.Cleanup(func() {
		fill := start(t, newTestRunner(t), command("rm -f "+file))
		finish(t, fill)
	})
	fill := command("umask 0; cat /dev/zero > " + file)
	if got := finish(t, start(t, r, fill)); !got.OOMKilled || got.Signal != syscall.SIGKILL {
		t.Fatalf("got killed for memory %v, signal %v; want true, SIGKILL",
			got.OOMKilled, got.Signal)
	}
	now, err := strconv.ParseUint(fileOf(t, "memory.current"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	setTotals(t, Totals{Memory: now}) // now there is no room at all
	failed, killed := 0, 0
	for range 50 {
		p, err := r.Start(command("true"))
		if err != nil {
			failed++
			if FaultOf(err) != FaultHost || !strings.Contains(err.Error(), "TOTAL_MEMORY") {
				t.Errorf("got %v, want the host's fault, TOTAL_MEMORY", err)
			}
			continue
		}
		if finish(t, p).OOMKilled {
			killed++
		}
	}
	t.Logf("of 50 commands %d could not start, %d were killed", failed, killed)
	if failed+killed == 0 {
		t.Error("all commands ran, so nothing is shown")
	}
	setTotals(t, Totals{})
	runsWell(t, r)
}

func TestControllers_TotalProcesses(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	setTotals(t, Totals{Processes: 3})
	p := start(t, r, command("sleep 3000 & sleep 3000 & wait"))
	testkit.Eventually(t, "all run", func() bool { return len(p.Left()) == 3 })
	_, err := r.Start(command("true"))
	if FaultOf(err) != FaultHost || !strings.Contains(fmt.Sprint(err), "TOTAL_PROCESSES") {
		t.Errorf("got %v, want the host's fault, TOTAL_PROCESSES", err)
	}
	setTotals(t, Totals{})
	runsWell(t, r)
	p.End(Cancelled)
	finish(t, p)
}

// A total below what is used ends nothing, and comes into force later.
func TestControllers_LowerTotalMemory(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	setTotals(t, Totals{Memory: 500 * mebibyte})
	p := start(t, r, command("x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; sleep 3000"))
	awaitOutput(t, p)
	setTotals(t, Totals{Memory: 4 * mebibyte})
	if got := fileOf(t, "memory.max"); got != strconv.Itoa(500*mebibyte) {
		t.Errorf("got memory.max %s, want the old one", got)
	}
	if isDone(p) {
		t.Error("the command has ended")
	}
	p.End(Cancelled)
	finish(t, p)
	testkit.Eventually(t, "the total is in force", func() bool {
		r.ReapStrays()
		return fileOf(t, "memory.max") == strconv.Itoa(4*mebibyte)
	})
	setTotals(t, Totals{})
}

// Cached files count as used memory, and only a bound frees them.
func TestControllers_LowerTotalMemoryOfCachedFiles(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	const disk = "/dev/nvme0n1" // of 64 MiB; its last closing would free what is cached
	r := newTestRunner(t)
	setTotals(t, Totals{Memory: 500 * mebibyte})
	p := start(t, r, command("exec 3<"+disk+" && cat <&3 >/dev/null && echo ready && exec sleep 3000"))
	awaitOutput(t, p)
	if now, err := readNumber(cage.cgroups.jobs, "memory.current"); now < 60*mebibyte {
		t.Fatalf("the commands use %d bytes (%v), want those of %s in addition", now, err, disk)
	}
	setTotals(t, Totals{Memory: 32 * mebibyte})
	if got := fileOf(t, "memory.max"); got != strconv.Itoa(32*mebibyte) {
		t.Errorf("got memory.max %s, want the new one at once", got)
	}
	if got := fileOf(t, "memory.high"); got != "max" {
		t.Errorf("got memory.high %s, want max", got)
	}
	if isDone(p) {
		t.Error("the command has ended")
	}
	again := start(t, r, command("cat "+disk+" >/dev/null; echo ready; exec sleep 3000"))
	awaitOutput(t, again)
	long := command("true")
	for i := range 30 {
		long.Env = append(long.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", 100_000)))
	}
	if _, err := r.Start(long); FaultOf(err) != FaultRequest {
		t.Errorf("an environment that is too long: got %v, want the fault of the request", err)
	}
	again.End(Cancelled)
	finish(t, again)
	p.End(Cancelled)
	if finish(t, p).OOMKilled {
		t.Error("the OOM killer has ended a process")
	}
	setTotals(t, Totals{})
}

// Cgroups are reused by commands with the same limits only.
func TestControllers_Reuse(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	for range 3 {
		for _, want := range []uint64{0, 20, 30} {
			p := start(t, r, limited("true", Limits{Processes: want}))
			if want > 0 || cage.cgroups.controllers.states[pidsController].enabled {
				if got := fileOf(t, p.cgroup.name+"/pids.max"); got != orMax(want) {
					t.Errorf("got pids.max %s, want %s", got, orMax(want))
				}
			}
			finish(t, p)
			testkit.Eventually(t, "its cgroup is idle", func() bool {
				return cage.cgroups.isIdle(p.cgroup.name)
			})
		}
	}
	if names := cage.cgroups.names(); len(names) != 3 {
		t.Errorf("got %d cgroups, want 3", len(names))
	}
	// The peak of memory takes a new one, until too many dying ones are left.
	for _, crowded := range []bool{false, true} {
		cage.cgroups.controllers.crowded.Store(crowded)
		p := start(t, r, limited("true", Limits{Memory: 64 * mebibyte}))
		finish(t, p)
		testkit.Eventually(t, "its cgroup is given back", func() bool {
			gone := unix.Faccessat(cage.cgroups.jobs, p.cgroup.name, unix.F_OK, 0) != nil
			return gone != crowded && cage.cgroups.isIdle(p.cgroup.name) == crowded
		})
	}
}

func TestControllers_Close(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	all := Limits{Memory: 64 * mebibyte, Processes: 20, MilliCPU: 500, IOWeight: 50}
	p := start(t, r, limited("sleep 3000", all))
	if got := fileOf(t, "cgroup.subtree_control"); got != "cpu io memory pids" {
		t.Errorf("got the controllers %q, want cpu io memory pids", got)
	}
	cage.cgroups.Close()
	for _, name := range []string{"cgroup.subtree_control", "../cgroup.subtree_control"} {
		if got := fileOf(t, name); got != "" {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
	p.End(Cancelled)
	if got := finish(t, p); got.Ended != Cancelled {
		t.Errorf("got ended %v, want %v", got.Ended, Cancelled)
	}
}

// A daemon that was killed leaves controllers enabled, and its commands.
func TestControllers_LeftBehind(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	p := start(t, r, limited("sleep 3000", Limits{Memory: 64 * mebibyte, Processes: 20}))
	unit, err := unix.Openat(cage.cgroups.jobs, "..", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unit)
	var next controllers
	// The daemon's user may not open these files, root may: here the descriptors are those of root.
	next.unit, next.jobs = cage.cgroups.controllers.unit, cage.cgroups.controllers.jobs
	next.clear()
	if got := fileOf(t, "cgroup.subtree_control"); got != "" {
		t.Errorf("got the controllers %q, want none", got)
	}
	p.End(Cancelled)
	finish(t, p)
}

func TestControllers_HandOver(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	setTotals(t, Totals{Memory: 500 * mebibyte, Processes: 100})
	held := Limits{Memory: 64 * mebibyte, CPUWeight: 20}
	p := start(t, r, limited("sleep 3000", held))
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	state := p.cgroup.state()
	if got := state.cgroupLimits; got != p.cgroup.limits || got.Memory != 64*mebibyte ||
		got.CPUWeight != 20 {
		t.Errorf("got the limits %+v, want %+v", got, p.cgroup.limits)
	}
	next, err := RestoreCgroups(cage.cgroups.HandOver(w), 1024)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.SetTotals(Totals{Processes: 50}); err != nil {
		t.Fatal(err)
	}
	if got := fileOf(t, "pids.max") + " " + fileOf(t, "memory.max"); got != "50 max" {
		t.Errorf("got the totals %q, want \"50 max\"", got)
	}
	p.End(Cancelled)
	finish(t, p)
	next.Close()
	if got := fileOf(t, "cgroup.subtree_control"); got != "" {
		t.Errorf("got the controllers %q, want none", got)
	}
}

// A release that knew no limits of a whole command hands over no files to enable controllers with.
func TestControllers_HandOverFromEarlier(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	s := CgroupsState{Jobs: cage.cgroups.jobs, Most: cage.cgroups.most, Last: 9000}
	c, err := RestoreCgroups(s, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, by := c.controllers.split(Limits{Memory: 64 * mebibyte})
	if rest.Memory != 64*mebibyte || by != ByProcess {
		t.Errorf("got the rest %+v by %q, want all by process", rest, by)
	}
	if err := c.SetTotals(Totals{Memory: mebibyte}); err == nil {
		t.Error("got no error for a total")
	}
}

func TestControllers_LeastMemory(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	for _, shell := range []string{"/bin/sh", "/bin/bash"} {
		c := limited("ls / | cat; echo on", Limits{Memory: MinMemory})
		c.Shell = shell
		if got := finish(t, start(t, r, c)); !strings.HasSuffix(text(&got.Stdout), "on\n") {
			t.Errorf("%s: got %q, %v; want \"on\"", shell, text(&got.Stdout), got.Signal)
		} else {
			t.Logf("%s: peak %d KiB", shell, got.MemoryPeak>>10)
		}
	}
	large := limited("echo ${#A};"+strings.Repeat(" ", 131000), Limits{Memory: MinMemory})
	large.Env = []string{"A=" + strings.Repeat("a", 131069)}
	if got := finish(t, start(t, r, large)); text(&got.Stdout) != "131069\n" {
		t.Errorf("got %q, %v; want \"131069\\n\"", text(&got.Stdout), got.Signal)
	}
}

// An ENOMEM of the execve is told as what it is, and is not tried again for seconds.
func TestControllers_TooLittleMemory(t *testing.T) {
	if !inControlledCage(t) {
		return
	}
	r := newTestRunner(t)
	if _, err := r.Start(limited("true", Limits{Memory: 1000})); FaultOf(err) != FaultRequest {
		t.Errorf("got %v, want the request's fault", err)
	}
	if err := cage.cgroups.controllers.enable(memoryController); err != nil {
		t.Fatal(err)
	}
	for _, memory := range []uint64{4 << 10, 64 << 10, 256 << 10, 512 << 10, mebibyte} {
		held := cgroupLimits{Memory: memory, Watched: true}
		g, dir, err := cage.cgroups.acquire(true, held)
		if err != nil {
			t.Fatal(err)
		}
		slot := r.descriptors.lease()
		null := int(r.descriptors.null.Fd())
		at := place{
			stdin: null, stdout: null, stderr: null, script: -1, cgroup: dir, guarded: true,
		}
		begun := time.Now()
		sh := &startedShell{}
		c := command("true")
		err = r.launch(&c, at, sh)
		t.Logf("%d KiB: %v, then %v, after %v", memory>>10, err, g.explain(err), time.Since(begun))
		if err == nil {
			status := awaitChild(sh.pid)
			r.reaper.forget(sh.pid)
			unix.Close(sh.pidfd)
			t.Logf("exit %d, signal %v, killed %d, peak %d KiB", status.ExitStatus(),
				status.Signal(), g.memoryUsed().OOMKills, g.memoryUsed().Peak>>10)
		} else if errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
		unix.Close(dir)
		slot.release()
		testkit.Eventually(t, "its cgroup is removed", g.remove)
	}
	runsWell(t, r)
}
