package exec

import (
	"bytes"
	"io"
	osexec "os/exec"
	"strconv"
	"syscall"
	"testing"
)

// Run with: go test -run '^$' -bench . -benchtime 2s ./exec
// Each pair compares the whole of this package with a bare os/exec loop.

var benchCommands = []struct{ name, text string }{
	{"true", "true"},
	{"echo", "echo hi"},
	{"1MiB", "head -c 1048576 /dev/zero"},
	{"50MiB", "head -c 52428800 /dev/zero"},
}

func BenchmarkRunner(b *testing.B) {
	r := newTestRunner(b)
	eachBench(b, func(b *testing.B, text string) {
		c := command(text)
		c.MaxOutput = 64 << 20
		p, err := r.Start(c)
		if err != nil {
			b.Error(err)
			return
		}
		<-p.Done()
		for _, output := range []*Output{p.Stdout(), p.Stderr()} {
			if _, err := output.Parts().Start.WriteTo(io.Discard); err != nil {
				b.Error(err)
			}
			output.Release()
		}
	})
}

func BenchmarkOSExec(b *testing.B) {
	env := command("").Env
	eachBench(b, func(b *testing.B, text string) {
		var out, err bytes.Buffer
		c := osexec.Command("/bin/sh", "-c", text)
		c.Dir, c.Env, c.Stdout, c.Stderr = "/", env, &out, &err
		if err := c.Run(); err != nil {
			b.Error(err)
		}
		_, _ = out.WriteTo(io.Discard)
	})
}

func eachBench(b *testing.B, run func(*testing.B, string)) {
	for _, c := range benchCommands {
		for _, clients := range []int{1, 16} {
			b.Run(c.name+"/clients="+strconv.Itoa(clients), func(b *testing.B) {
				inParallel(b, clients, func() { run(b, c.text) })
			})
		}
	}
}

// inParallel does b.N runs by so many clients, whatever GOMAXPROCS is.
func inParallel(b *testing.B, clients int, run func()) {
	self, children := cpuOf(syscall.RUSAGE_SELF), cpuOf(syscall.RUSAGE_CHILDREN)
	work := make(chan struct{})
	done := make(chan struct{})
	for range clients {
		go func() {
			for range work {
				run()
			}
			done <- struct{}{}
		}()
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	for range clients {
		<-done
	}
	self, children = cpuOf(syscall.RUSAGE_SELF)-self, cpuOf(syscall.RUSAGE_CHILDREN)-children
	b.ReportMetric(float64(self)/float64(b.N)/1e3, "own-cpu-µs/op")
	b.ReportMetric(float64(children)/float64(b.N)/1e3, "child-cpu-µs/op")
}

// cpuOf is the processor time that so far went into us or our children. Unlike
// the time on the clock it hardly depends on what else the machine does.
func cpuOf(who int) int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(who, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// What setting a limit costs: compare with BenchmarkRunner/true.
func BenchmarkLimited(b *testing.B) {
	r := newTestRunner(b)
	c := limited("true", Limits{OpenFiles: 1000})
	inParallel(b, 16, func() {
		p, err := r.Start(c)
		if err != nil {
			b.Error(err)
			return
		}
		<-p.Done()
	})
}
