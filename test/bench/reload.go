package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reloadCallers call in a loop. Every second one uses a new connection for each call.
	reloadCallers = 4
	// reloadOutput is what each of the sleepers has written: 32 MiB together.
	reloadOutput = 32 << 20 / sleepers

	beforeReload = 700 * time.Millisecond // of calls
	afterReload  = 300 * time.Millisecond

	maxReloadCost     = 100 * time.Millisecond
	maxBusyReloadCost = 300 * time.Millisecond
)

// reloads measures what a reload costs a call: the longest call of each caller during the reload,
// less the median of the calls before it.
func (b *bench) reloads(folder string) error {
	for _, state := range []struct {
		name    string
		running int
		limit   time.Duration
	}{
		{"idle", 0, maxReloadCost},
		{"1000 commands with 32 MiB", sleepers, maxBusyReloadCost},
	} {
		own, err := subfolder(folder, fmt.Sprintf("reload-%d", state.running))
		if err != nil {
			return err
		}
		if err := b.reloadsOf(own, state.running, state.name, state.limit); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) reloadsOf(folder string, running int, name string, limit time.Duration) error {
	r, err := startReloading(b.program, b.user, folder, running)
	if err != nil {
		return err
	}
	defer r.daemon.stop() // it ends the sleepers, if any
	rounds := 9
	if b.quick {
		rounds = 3
	}
	for _, program := range []string{"same program", "another program"} {
		var c reloadCost
		for range rounds {
			if program != "same program" {
				err = r.copyProgram(folder)
			}
			if err == nil {
				err = r.round(&c)
			}
			if err != nil {
				return fmt.Errorf("%w\n%s", err, r.daemon.logTail())
			}
		}
		c.report(b.report, fmt.Sprintf("reload, %s, %s", name, program), limit)
	}
	if err := r.wake(); err != nil {
		return err
	}
	b.report.figure(
		"reload, "+name+", failed calls", fmt.Sprintf("%d of %d", len(r.failures), r.calls), "0",
		len(r.failures) == 0,
	)
	for _, err := range r.failures[:min(len(r.failures), 5)] {
		b.report.detail("%v", err)
	}
	return nil
}

// reloading is a daemon that is reloaded during calls. It has two programs of the same content.
type reloading struct {
	setup
	daemon   *daemon
	sleepers []caller
	asleep   sync.WaitGroup
	fifo     string // the sleepers end when it is opened for writing

	calls    int // with those of the sleepers
	failures []error
}

func startReloading(program, user, folder string, running int) (r *reloading, err error) {
	r = &reloading{fifo: filepath.Join(folder, "fifo")}
	defer func() {
		if err != nil {
			r.daemon.stop()
		}
	}()
	if r.setup, err = configure(
		program, folder, "MAX_RUNNING = 2000", `DRAIN_TIMEOUT = "1s"`, `KILL_GRACE = "1s"`,
	); err != nil {
		return r, err
	}
	if r.daemon, err = r.start(user, folder); err != nil || running == 0 {
		return r, err
	}
	return r, r.startSleepers(filepath.Join(folder, "text"), running)
}

// startSleepers returns when every command has written its output and waits.
func (r *reloading) startSleepers(text string, running int) (err error) {
	if err := writeText(text, reloadOutput); err != nil {
		return err
	}
	if err := unix.Mkfifo(r.fifo, 0o644); err != nil {
		return fmt.Errorf("cannot create a pipe: %w", err)
	}
	command := "cat " + text + "; exec cat " + r.fifo // the opening waits
	r.sleepers = make([]caller, running)
	for i := range r.sleepers {
		r.sleepers[i] = r.caller(command)
		r.asleep.Go(r.sleepers[i].callOnce)
	}
	for deadline := time.Now().Add(maxRound); ; time.Sleep(100 * time.Millisecond) {
		asleep := 0
		children, err := r.daemon.executor.children()
		for _, c := range children {
			if comm, _ := os.ReadFile(c.file("comm")); string(comm) == "cat\n" {
				asleep++
			}
		}
		if err != nil || asleep == running {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d commands run", asleep, running)
		}
	}
}

// wake ends the sleepers, whose callers all get an answer.
func (r *reloading) wake() error {
	if len(r.sleepers) == 0 {
		return nil
	}
	f, err := os.OpenFile(r.fifo, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot wake the commands: %w", err)
	}
	_ = f.Close()
	r.asleep.Wait()
	r.count(r.sleepers)
	return nil
}

// count adds the calls of callers.
func (r *reloading) count(callers []caller) {
	for i := range callers {
		r.calls += len(callers[i].calls) + len(callers[i].failures)
		r.failures = append(r.failures, callers[i].failures...)
	}
}

// copyProgram makes the next reload one by another file.
func (r *reloading) copyProgram(folder string) error {
	content, err := os.ReadFile(r.program)
	if err == nil {
		next := filepath.Join(folder, "program-a")
		if r.program == next {
			next = filepath.Join(folder, "program-b")
		}
		_ = os.Remove(next)
		r.program, err = next, os.WriteFile(next, content, 0o755)
	}
	if err != nil {
		return fmt.Errorf("cannot copy the program: %w", err)
	}
	return nil
}

// round makes one reload during calls.
func (r *reloading) round(c *reloadCost) error {
	ended := make(chan struct{})
	callers := make([]caller, reloadCallers)
	var all sync.WaitGroup
	for i := range callers {
		callers[i] = r.caller("true")
		callers[i].fresh = i%2 == 1
		all.Go(func() { callers[i].run(ended) })
	}
	time.Sleep(beforeReload)
	began := time.Now()
	text, err := exec.Command(
		r.program, "reload", "--config", r.config, "--state-dir", r.state,
	).CombinedOutput()
	took := time.Since(began)
	time.Sleep(afterReload)
	close(ended)
	all.Wait()
	if err != nil {
		return fmt.Errorf("cannot reload: %w: %s", err, text)
	}
	r.count(callers)
	c.add(callers, began, took)
	return nil
}

// caller calls in a loop.
type caller struct {
	address, key string
	body         []byte
	fresh        bool // a new connection for each call
	conn         net.Conn
	calls        []call
	failures     []error
}

type call struct {
	sent time.Time
	took time.Duration
}

func (r *reloading) caller(command string) caller {
	return caller{
		address: r.address, key: r.key, body: fmt.Appendf(nil, `{"command":%q}`, command),
	}
}

func (c *caller) run(ended <-chan struct{}) {
	defer c.close()
	for {
		select {
		case <-ended:
			return
		default:
		}
		c.callOnce()
	}
}

func (c *caller) callOnce() {
	sent := time.Now()
	if err := c.call(); err != nil {
		c.failures = append(c.failures, err)
		c.close()
		return
	}
	c.calls = append(c.calls, call{sent, time.Since(sent)})
}

// call connects if there is no connection. One that the daemon has announced to close is not used
// again.
func (c *caller) call() (err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.address, startTimeout); err != nil {
			return fmt.Errorf("cannot connect: %w", err)
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(maxRound))
	if _, err := c.conn.Write(signOne([]byte(c.key), c.body)); err != nil {
		return fmt.Errorf("cannot send a request: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
	if err != nil {
		return fmt.Errorf("cannot read an answer: %w", err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not an answer: %s %q, %w", answer.Status, body, err)
	}
	if c.fresh || answer.Close {
		c.close()
	}
	return nil
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// reloadCost is the outcome of some reloads, in seconds.
type reloadCost struct {
	before  []float64 // medians
	longest []float64 // of each caller during each reload
	added   []float64 // longest less before
	ratios  []float64 // longest over before
	reloads []float64 // the run time of `reload`
}

func (c *reloadCost) add(callers []caller, began time.Time, took time.Duration) {
	var before []float64
	for _, caller := range callers {
		for _, call := range caller.calls {
			if call.sent.Add(call.took).Before(began) {
				before = append(before, call.took.Seconds())
			}
		}
	}
	if len(before) == 0 {
		return // each call has failed, which is reported
	}
	median := spreadOf(before).median
	c.before, c.reloads = append(c.before, median), append(c.reloads, took.Seconds())
	for _, caller := range callers {
		longest := 0.0
		for _, call := range caller.calls {
			if call.sent.Before(began.Add(took)) && call.sent.Add(call.took).After(began) {
				longest = max(longest, call.took.Seconds())
			}
		}
		c.longest = append(c.longest, longest)
		c.added = append(c.added, longest-median)
		c.ratios = append(c.ratios, longest/median)
	}
}

func (c *reloadCost) report(r *report, name string, limit time.Duration) {
	if len(c.before) == 0 {
		r.missing(name, "", "no call was answered")
		return
	}
	added := spreadOf(c.added)
	r.figure(
		name+", call longer by", added.times(1e3)+" ms",
		fmt.Sprintf("<= %d ms", limit.Milliseconds()),
		added.median <= limit.Seconds(),
	)
	r.detail(
		"calls before %.1f ms, longest during it %s ms, %.0f x; `reload` took %s ms",
		1e3*spreadOf(c.before).median, spreadOf(c.longest).times(1e3), spreadOf(c.ratios).median,
		spreadOf(c.reloads).times(1e3),
	)
}
