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

// The kinds of workers: processes of their own, so that none shares a heap with another.
const (
	loopWorker   = "loop"
	clientWorker = "client"
	serverWorker = "server"
	vforkWorker  = "vfork"
	memfdWorker  = "memfd"
	prefixWorker = "prefix"
	relayWorker  = "relay"

	// relayedWorker is started by a relay, for itself.
	relayedWorker = "relayed"
)

// roundLimit bounds every round: a worker that takes longer is killed.
const roundLimit = 2 * time.Minute

// order is one round: so many commands by so many clients at once.
type order struct {
	Command  string
	Clients  int
	Commands int

	Address, Key string   // for the client alone
	Hook         bool     // sign as webhook has it
	Prefix       []string // what to call with the command as its last argument; the C loop's program
}

// outcome is what came of it.
type outcome struct {
	Connecting  time.Duration // before the clock of the others started
	Elapsed     time.Duration
	Median, P99 time.Duration // from a client's sending to the whole answer
	Bytes       int64         // of all answers
	Error       string

	Address string // of the server
}

func (o *outcome) latencies(all []time.Duration) {
	slices.Sort(all)
	o.Median, o.P99 = all[len(all)/2], all[len(all)*99/100]
}

// becomeWorker does orders until there are no more, if name is a kind of worker.
func becomeWorker(name string) bool {
	do, known := map[string]func(order) (outcome, error){
		loopWorker: runLoop, clientWorker: runClient, serverWorker: runServer,
		vforkWorker: runVfork, memfdWorker: runMemfd, prefixWorker: runPrefix,
		relayWorker: runRelay,
	}[name]
	if name == relayedWorker {
		_ = runRelayed() // it ends with the process that started it
		return true
	}
	if !known {
		return false
	}
	orders, outcomes := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if orders.Decode(&o) != nil {
			return true
		}
		result, err := do(o)
		if err != nil {
			result.Error = err.Error()
		}
		if outcomes.Encode(result) != nil {
			return true
		}
	}
}

// worker is a running worker.
type worker struct {
	process
	command  *exec.Cmd
	orders   io.WriteCloser
	outcomes *json.Decoder
}

// startWorker starts one as the named user, in the environment that the daemon gives to commands.
func startWorker(kind, name string) (*worker, error) {
	return startWorkerBy(exec.Command("/proc/self/exe", kind), name)
}

func startWorkerBy(c *exec.Cmd, name string) (*worker, error) {
	c.Stderr, c.Dir = os.Stderr, "/"
	c.Env = workerEnvironment(name)
	var err error
	if c.SysProcAttr, err = dieWithUs(name); err != nil {
		return nil, err
	}
	orders, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	outcomes, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c, err)
	}
	return &worker{process: process(c.Process.Pid), command: c, orders: orders, outcomes: json.NewDecoder(outcomes)}, nil
}

func workerEnvironment(user string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/", "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/sh", "LANG=C.UTF-8",
	}
}

// dieWithUs is for a child that runs as the named user; without a name, or without root, as this one.
func dieWithUs(name string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if name == "" || os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("cannot run commands as %q: %w: name another with -user", name, err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("cannot run commands as %q: %w", name, err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}

// do has one round done.
func (w *worker) do(o order) (outcome, error) {
	var result outcome
	late := time.AfterFunc(roundLimit, func() { _ = w.command.Process.Kill() })
	defer late.Stop()
	if err := json.NewEncoder(w.orders).Encode(o); err != nil {
		return result, fmt.Errorf("cannot give an order: %w", err)
	}
	if err := w.outcomes.Decode(&result); err != nil {
		return result, fmt.Errorf("cannot read what came of %q: %w", o.Command, err)
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
	_ = w.orders.Close()
	_ = w.command.Wait()
}
