package system

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// reloadAs asks the daemon to go on as a program file, and returns what `reload` printed and its
// exit status.
func (d *daemon) reloadAs(program string) (output string, status int) {
	d.t.Helper()
	cmd := d.reloadCommand(program)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		d.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (d *daemon) reloadCommand(program string) *exec.Cmd {
	return exec.Command(program, "reload", "--config", d.config, "--state-dir", d.stateDir())
}

// wantReload reloads as a program file, which must succeed.
func (d *daemon) wantReload(program string) {
	d.t.Helper()
	if out, status := d.reloadAs(program); status != 0 {
		d.t.Errorf("reload: status %d: %s\n%.5000s", status, out, d.log())
	}
}

// twoPrograms are two files of the same program: a reload as the other one replaces the network
// role as well.
func twoPrograms(t *testing.T) [2]string {
	t.Helper()
	first := testkit.Program(t)
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(sharedDir(t), testkit.Name)
	if err := os.WriteFile(second, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(second, 0o711); err != nil {
		t.Fatal(err)
	}
	return [2]string{first, second}
}

// reloadsUnderLoad reloads the daemon many times, with another configuration and another program
// file each time. No connection is lost, no command notices, and nothing is left.
func reloadsUnderLoad(t *testing.T, m *model) {
	bind := func(s *service) string { return fmt.Sprintf("BIND = %q", s.address) }
	s := newService(t, m, `DRAIN_TIMEOUT = "20s"`, "KEEP_JOBS = 100000")
	v := s.receiver(8100)
	s.begin()
	programs := twoPrograms(t)
	long := s.follow(m)
	var stops []func()
	for _, p := range []plan{
		{sleep: "0", wait: true},
		{sleep: "0.05", wait: true, callback: v.url()},
		{sleep: "0", callback: v.url()},
		{sleep: "0.3", wait: true, own: true},
	} {
		stops = append(stops, m.repeat(s.daemon, p))
	}
	reloads := 40
	if longRun() {
		reloads = 300
	}
	for i := range reloads {
		time.Sleep(time.Duration(m.n(100)) * time.Millisecond)
		keys := []string{strconv.Quote(testKey), fmt.Sprintf("[%q, %q]", testKey, "another-key-0123456789abcdef")}
		s.configure(keys[i%2], `DRAIN_TIMEOUT = "20s"`, "KEEP_JOBS = 100000", bind(s), fmt.Sprintf("MAX_RUNNING = %d", 20+i%7))
		s.wantReload(programs[m.n(3)%2])
		m.replay(s.daemon, 3)
		m.check()
		if t.Failed() {
			break
		}
	}
	for _, stop := range stops {
		stop()
	}
	long.finish()
	m.settle(testkit.Patience)
	m.checkKept(s.daemon)
	m.wantNoneLost()
	s.wantNothingLeft()
}

// longJob is a job that prints numbered lines until its end is asked for, with a caller who waits
// for it and one who follows its output.
type longJob struct {
	s        *service
	end      string // the job ends once this file exists
	answers  sync.WaitGroup
	waited   answer
	followed []byte
	failures []error
}

func (s *service) follow(m *model) *longJob {
	s.t.Helper()
	l := &longJob{s: s, end: filepath.Join(m.dir, "end")}
	command := fmt.Sprintf(`i=0; until test -e %s; do i=$((i+1)); echo line $i; echo line $i >&2; sleep 0.01; done; echo $i lines; exit 7`, l.end)
	l.answers.Go(func() {
		a, err := do(patient(), s.sign("POST", "/shell", jsonOf(fields{
			"command": command, "jobId": "long", "envs": fields{"SIDECAR_FAULTS": m.dir},
		})).http(s.daemon))
		l.waited = a
		if err != nil {
			l.failures = append(l.failures, err)
		}
	})
	s.eventually("the long job", func() bool {
		return s.send(s.sign("GET", "/jobs/long", "null")).status == 200
	})
	l.answers.Go(func() {
		a, err := do(patient(), s.sign("GET", "/jobs/long/output", "null").http(s.daemon))
		l.followed = []byte(a.body)
		if err != nil {
			s.t.Errorf("the follower got %v after %d bytes", err, len(l.followed))
		}
	})
	return l
}

// patient is oneShot without its timeout: a long run of reloads takes minutes.
func patient() *http.Client {
	client := oneShot()
	client.Timeout = 0
	return client
}

// finish ends the job. Its output must have come whole to both.
func (l *longJob) finish() {
	t := l.s.t
	t.Helper()
	if err := os.WriteFile(l.end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.answers.Wait()
	for _, err := range l.failures {
		t.Errorf("the caller of the long job: %v", err)
	}
	if l.waited.Data == nil || l.waited.Data.ExitCode == nil || *l.waited.Data.ExitCode != 7 {
		t.Fatalf("the long job: got %d %.300s", l.waited.status, l.waited.body)
	}
	var want bytes.Buffer
	lines := strings.Count(l.waited.Data.Stdout, "\n") - 1
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	if l.waited.Data.Stderr != want.String() {
		t.Errorf("stderr is not lines 1 to %d, but %d bytes: …%.200s", lines, len(l.waited.Data.Stderr), l.waited.Data.Stderr)
	}
	fmt.Fprintf(&want, "%d lines\n", lines)
	for name, got := range map[string]string{"stdout": l.waited.Data.Stdout, "followed": string(l.followed)} {
		if got != want.String() {
			t.Errorf("%s: got %d bytes, want %d: lines 1 to %d", name, len(got), want.Len(), lines)
		}
	}
	t.Logf("the long job printed %d lines", lines)
}

// killsDuringReloads kills the executor at a random moment of a reload: before, in and after the
// execve. Nothing runs twice, and each promised callback comes.
func killsDuringReloads(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "1s"`, `KILL_GRACE = "300ms"`, "MAX_CALLBACKS = 5000", "KEEP_JOBS = 100000", "KEEP_BYTES = 134217728")
	v := s.receiver(8100)
	v.be(small)
	s.begin()
	programs := twoPrograms(t)
	stop := m.load(s.daemon, 4, []string{v.url()})
	rounds := 15
	if longRun() {
		rounds = faultRounds()
	}
	for i := range rounds {
		time.Sleep(time.Duration(m.n(100)) * time.Millisecond)
		cmd := s.reloadCommand(programs[i%2])
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(m.n(60)) * time.Millisecond)
		switch m.n(4) {
		case 0:
			s.killRole()
		case 1:
			_ = cmd.Process.Kill()
		default:
			s.kill()
		}
		_ = cmd.Wait() // of any outcome
		if !s.running() {
			s.begin()
		}
		m.replay(s.daemon, 3)
		m.check()
		if t.Failed() {
			break
		}
	}
	stop()
	s.wantReload(programs[0])
	s.stopInOrder() // also ends the commands that sleep for minutes
	s.begin()
	m.settle(2 * time.Minute)
	m.checkKept(s.daemon)
	s.wantNothingLeft()
}

// A stop during a reload ends the daemon: in order, or, if the signal comes in the moment in which
// no program has its handler yet, at once. It never goes on.
func TestReload_StopAtAnyMoment(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	programs := twoPrograms(t)
	inOrder := 0
	const rounds = 8
	for i := range rounds {
		m := newModel(t)
		s := newService(t, m, `DRAIN_TIMEOUT = "60s"`)
		s.begin()
		end := filepath.Join(m.dir, "end")
		command := fmt.Sprintf("until test -e %s; do sleep 0.01; done; echo whole", end)
		answers := make(chan answer, 1)
		go func() {
			body := jsonOf(fields{"command": command, "jobId": "whole", "envs": fields{"SIDECAR_FAULTS": m.dir}})
			a, _ := do(oneShot(), s.sign("POST", "/shell", body).http(s.daemon))
			answers <- a
		}()
		s.eventually("the command", func() bool {
			a := s.send(s.sign("GET", "/jobs/whole", "null"))
			return strings.Contains(a.body, `"state":"running"`)
		})
		cmd := s.reloadCommand(programs[1])
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i*6) * time.Millisecond)
		s.signal(s.pid, syscall.SIGTERM)
		if err := os.WriteFile(end, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.awaitEnd()
		_ = cmd.Wait()
		a := <-answers
		status, _ := s.state.Sys().(syscall.WaitStatus)
		switch {
		case status.Signaled() && status.Signal() == syscall.SIGTERM:
		case s.state.Success() && a.Data != nil && a.Data.Stdout == "whole\n":
			inOrder++
		default:
			t.Errorf("stopped %d ms after the reload began: %v, and got %d %s\n%s", i*6, s.state, a.status, a.body, s.log())
		}
	}
	t.Logf("%d of %d stops were in order", inOrder, rounds)
	if inOrder == 0 {
		t.Error("no stop was in order")
	}
}
