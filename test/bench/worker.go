package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Kinds of workers. Each is a process of its own, so that none shares a heap with another.
const (
	loopWorker   = "loop"
	clientWorker = "client"
	prefixWorker = "prefix"
)

// maxRound bounds a round: a worker that takes longer is killed.
const maxRound = 2 * time.Minute

// task is one round: a number of commands, by a number of clients at once.
type task struct {
	Command  string
	Clients  int
	Commands int

	Address, Key string   // for clientWorker
	Hook         bool     // for clientWorker: sign as webhook wants it
	Prefix       []string // for prefixWorker: the program to call, with the command as its last argument
}

// roundResult is the outcome of a task.
type roundResult struct {
	Connecting  time.Duration // not part of Elapsed
	Elapsed     time.Duration
	Median, P99 time.Duration // from sending a request to its whole answer
	Bytes       int64         // of all answers
	Error       string
}

func (r *roundResult) latencies(all []time.Duration) {
	slices.Sort(all)
	r.Median, r.P99 = all[len(all)/2], all[len(all)*99/100]
}

// runAsWorker serves tasks from stdin until it ends. It returns false if name is no kind of worker.
func runAsWorker(name string) bool {
	do, known := map[string]func(task) (roundResult, error){
		loopWorker: runLoop, clientWorker: runClient, prefixWorker: runPrefix,
	}[name]
	if !known {
		return false
	}
	tasks, results := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var t task
		if tasks.Decode(&t) != nil {
			return true
		}
		result, err := do(t)
		if err != nil {
			result.Error = err.Error()
		}
		if results.Encode(result) != nil {
			return true
		}
	}
}

// worker is a running worker.
type worker struct {
	process
	command *exec.Cmd
	tasks   io.WriteCloser
	results *json.Decoder
}

// startWorker starts a worker as the named user, with the environment that the daemon gives to
// commands.
func startWorker(kind, name string) (*worker, error) {
	return startWorkerBy(exec.Command("/proc/self/exe", kind), name)
}

func startWorkerBy(c *exec.Cmd, name string) (*worker, error) {
	c.Stderr, c.Dir = os.Stderr, "/"
	c.Env = workerEnvironment(name)
	var err error
	if c.SysProcAttr, err = childAttributes(name); err != nil {
		return nil, err
	}
	tasks, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	results, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	return &worker{
		process: process(c.Process.Pid), command: c, tasks: tasks,
		results: json.NewDecoder(results),
	}, nil
}

func workerEnvironment(user string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/", "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/sh", "LANG=C.UTF-8",
	}
}

// childAttributes makes a child die with this process, and run as the named user if name is set and
// this process is root.
func childAttributes(name string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if name == "" || os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf(
			"cannot run commands as %q: %w\nhint: name another user with -user", name, err,
		)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("cannot run commands as %q: %w", name, err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}

// do runs one round. maxRound bounds it.
func (w *worker) do(t task) (roundResult, error) {
	var result roundResult
	timeout := time.AfterFunc(maxRound, func() { _ = w.command.Process.Kill() })
	defer timeout.Stop()
	if err := json.NewEncoder(w.tasks).Encode(t); err != nil {
		return result, fmt.Errorf("cannot give an task: %w", err)
	}
	if err := w.results.Decode(&result); err != nil {
		return result, fmt.Errorf("cannot read the result of %q: %w", t.Command, err)
	}
	if result.Error != "" {
		return result, errors.New(result.Error)
	}
	return result, nil
}

func (w *worker) stop() {
	if w == nil {
		return
	}
	_ = w.tasks.Close()
	_ = w.command.Wait()
}
