package privsep

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// starter is a process that starts roles and executes itself, as a daemon does.
type starter struct {
	t     *testing.T
	pid   int
	input *os.File
	lines *bufio.Reader
	wait  func() error
}

func newStarter(t *testing.T) *starter {
	t.Helper()
	cmd := attacker(t, "start-roles")
	cmd.Stderr = os.Stderr
	stdin, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = stdin
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = input.Close()
	})
	s := &starter{t, cmd.Process.Pid, input, bufio.NewReader(out), cmd.Wait}
	s.want("name", "starter") // it has its handlers of signals by now
	return s
}

// ask returns the answer to a line.
func (s *starter) ask(line string) string {
	s.t.Helper()
	fmt.Fprintln(s.input, line)
	answer, err := s.lines.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s: got %q, %v", line, answer, err)
	}
	return strings.TrimSpace(answer)
}

func (s *starter) want(line, want string) {
	s.t.Helper()
	if got := s.ask(line); got != want {
		s.t.Fatalf("%s: got %q, want %q", line, got, want)
	}
}

func (s *starter) startRole() (pid int) {
	s.t.Helper()
	pid, err := strconv.Atoi(s.ask("start"))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// runs reports whether a process exists and is no zombie.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	state := parseStatus(string(text))["State"]
	return err == nil && len(state) > 0 && state[0] != "Z" && state[0] != "X"
}

// A role that was started in the first or in a later life answers in each, and ends with the process.
func TestForkThread_RolesOutliveExecve(t *testing.T) {
	s := newStarter(t)
	var pids []int
	for life := range 4 {
		pids = append(pids, s.startRole())
		for i := range pids {
			s.want(fmt.Sprintf("tell %d line life %d", i, life), "done")
			s.want("said", fmt.Sprintf("life %d", life))
			if !runs(pids[i]) {
				t.Fatalf("life %d: role %d is gone", life, i)
			}
		}
		s.want("inherited", "0 1 2")
		s.want("name", "starter")
		s.want("exec", "executed")
	}
	s.want("kill 3", "killed")
	s.want("status 3", "killed by signal 9 (killed)")
	if err := syscall.Kill(s.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i, pid := range pids {
		testkit.Eventually(t, fmt.Sprintf("role %d dies with its parent", i), func() bool {
			return !runs(pid)
		})
	}
}

// Neither a half line nor the count of lines is lost.
func TestRole_StandardErrorAcrossExecve(t *testing.T) {
	s := newStarter(t)
	s.startRole()
	s.want("tell 0 line first", "done")
	s.want("said", "first")
	s.want("tell 0 part ha", "done")
	s.want("exec", "executed")
	s.want("tell 0 line lf", "done")
	s.want("said", "half")
	for i := 3; i <= maxLines; i++ {
		s.want(fmt.Sprintf("tell 0 line %d", i), "done")
		s.want("said", strconv.Itoa(i))
		if i%40 == 0 {
			s.want("exec", "executed")
		}
	}
	s.want("tell 0 line more", "done")
	s.want("said", fmt.Sprintf("(more than %d lines: the rest is dropped)", maxLines))
	s.want("exec", "executed")
	s.want("tell 0 line still more", "done")
}

func TestAdoptRole_EndedMeanwhile(t *testing.T) {
	s := newStarter(t)
	s.startRole()
	s.startRole()
	s.want("exec /proc/self/exe 0", "executed")
	s.want("status 0", "exit status 7")
	s.want("tell 1 line on", "done")
	s.want("exec", "executed") // with one that was reaped
	s.want("status 0", "exit status 7")
	s.want("tell 1 exit 9", "done")
	s.want("status 1", "exit status 9")
}

func TestExec_FailureChangesNothing(t *testing.T) {
	s := newStarter(t)
	pid := s.startRole()
	limit := s.ask("limit")
	text := t.TempDir() + "/text"
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{text: "exec format error", "/dev/null": "permission denied"} {
		got := s.ask("exec " + program)
		if !strings.Contains(got, "cannot execute the program") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", program, got, want)
		}
		s.want("inherited", "0 1 2")
		s.want("limit", limit)
		s.want("tell 0 line on", "done")
		s.want("said", "on")
	}
	// The failed ones have no trace: the role is read and reaped as ever, here and in the next life.
	s.want("exec", "executed")
	s.want("tell 0 line on", "done")
	s.want("said", "on")
	if got := s.ask("exec " + text); !strings.Contains(got, "cannot execute") {
		t.Errorf("got %q, want an error", got)
	}
	s.want("tell 0 exit 3", "done")
	s.want("status 0", "exit status 3")
	if runs(pid) {
		t.Error("the role runs, want it reaped")
	}
}

// The runtime raises the limit for itself. Commands get the one before that, in each life.
func TestExec_OpenFiles(t *testing.T) {
	s := newStarter(t)
	for range 2 {
		s.want("exec", "executed")
		s.want("inherited-limit", "1000")
	}
}

func TestExec_SignalBefore(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		s := newStarter(t)
		sendSignal(t, s.pid, signal)
		testkit.Eventually(t, "the signal is not pending", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
			return err == nil && strings.Contains(string(text), "ShdPnd:\t0000000000000000\n")
		})
		if got := s.ask("exec"); !strings.HasSuffix(got, ErrSignal.Error()) {
			t.Errorf("%s: got %q, want %q", signal, got, ErrSignal)
		}
		s.want("signal", signal.String())
		s.want("exec", "executed")
		sendSignal(t, s.pid, signal)
		s.want("signal", signal.String())
	}
}

func TestExec_SignalAfterAFailure(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		s := newStarter(t)
		for range 3 { // in the first program, and in later ones
			if got := s.ask("exec /dev/null"); !strings.Contains(got, "cannot execute") {
				t.Fatalf("got %q, want an error", got)
			}
			sendSignal(t, s.pid, signal)
			s.want("signal", signal.String())
			s.want("exec", "executed")
			sendSignal(t, s.pid, signal)
			s.want("signal", signal.String())
		}
	}
}

// A signal hits each moment of an execution: it arrives, or it ends the process. It is never lost.
func TestExec_SignalAtAnyMoment(t *testing.T) {
	arrived, ended := 0, 0
	for i := range 60 {
		s := newStarter(t)
		fmt.Fprintln(s.input, "exec")
		time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		sendSignal(t, s.pid, syscall.SIGTERM)
		if _, err := s.lines.ReadString('\n'); err == nil { // it goes on, in this program or in the next
			fmt.Fprintln(s.input, "signal")
			if line, err := s.lines.ReadString('\n'); err == nil {
				arrived++
				if line != "terminated\n" {
					t.Fatalf("moment %d: got %q, want terminated", i, line)
				}
				continue
			}
		}
		ended++
		if err := s.wait(); err == nil || err.Error() != "signal: terminated" {
			t.Fatalf("moment %d: got %v, want an end by SIGTERM", i, err)
		}
	}
	t.Logf("the signal arrived %d times, and ended the process %d times", arrived, ended)
}

// Two reloads by SIGHUP at once must not end the daemon.
func TestExec_HangupAtAnyMoment(t *testing.T) {
	s := newStarter(t)
	for i := range 40 {
		time.AfterFunc(time.Duration(i)*100*time.Microsecond, func() {
			_ = syscall.Kill(s.pid, syscall.SIGHUP)
		})
		if got := s.ask("exec"); got != "executed" {
			if !strings.HasSuffix(got, ErrSignal.Error()) {
				t.Fatalf("moment %d: got %q, want executed, or %q", i, got, ErrSignal)
			}
			s.want("signal", "hangup")
		}
	}
}

func sendSignal(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

func TestForkThread_NoCallAfterClose(t *testing.T) {
	thread := NewForkThread()
	go thread.Serve()
	if err := thread.do(func() {}); err != nil {
		t.Fatal(err)
	}
	thread.Close()
	thread.Close()
	if _, err := thread.StartRole(nil, nil, nil); err == nil {
		t.Error("after Close: got nil, want an error")
	}
}

// At least one of two threads is not the main one.
func TestExec_OtherThreadIsRefused(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var answers string
	for range 2 {
		thread := NewForkThread()
		go thread.Serve()
		defer thread.Close()
		err := thread.Exec(Execution{Program: null, Signals: make(chan os.Signal, 1)})
		answers += err.Error() + "\n"
	}
	if !strings.Contains(answers, "not the main thread") {
		t.Errorf("got %s, want an error about the main thread", answers)
	}
}
