package exec

import (
	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/worker"
)

// Start runs a command and returns when its shell has been executed, or fails within about maxStart
// and maxBirth together. Its errors are of type *StartError.
func (r *Runner) Start(command Command) (*Process, error) {
	c := &command
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if !r.spawner.openat2 && isBelowProc(c.Dir) {
		return nil, dirError(c.Dir, unix.ELOOP)
	}
	in, err := openInputs(c)
	if err != nil {
		return nil, err
	}
	defer in.close()
	sh, err := r.start(c, in)
	homeless := c.HomeOrRoot && isDirError(err)
	if homeless {
		sh, err = r.start(c.inRoot(), in)
	}
	if err != nil {
		return nil, err
	}
	p := r.newProcess(sh.pid)
	p.pidfd, p.cgroup, p.homeless, p.begun = sh.pidfd, sh.cgroup, homeless, sh.started
	p.grace, p.signal, p.endWithShell = c.Grace, c.Signal, c.EndWithShell
	p.result.Started, p.result.LimitsBy = sh.started, sh.limitsBy
	p.run(c, sh)
	return p, nil
}

// run starts to read the output, the timeout, and the wait for the shell's exit.
func (p *Process) run(c *Command, sh *startedShell) {
	r := p.runner
	r.shells.Store(p.pid, p)
	for i, output := range []*Output{p.Stdout(), p.Stderr()} {
		output.order, output.stream = &p.order, i
		output.limit, output.buffers = c.MaxOutput-int64(c.OutputTail), r.pipes.buffers
		output.tail.limit = c.OutputTail
	}
	p.mask(c.Secrets)
	p.pipes = r.pipes.start(p.pid, r.poller, r.descriptors.null,
		stream{fd: sh.stdout, output: p.Stdout()}, stream{fd: sh.stderr, output: p.Stderr()})
	// Closing a pipe may block: a command that has the other end can hold its lock.
	both := p.pipes
	both.releasing.Store(true)
	r.gate.run(func() {
		sh.slot.release()
		both.releasing.Store(false)
	})
	if c.Timeout > 0 {
		p.mu.Lock()
		p.timeout = r.after(c.Timeout, p.timeOut)
		p.mu.Unlock()
	}
	p.watchExit()
}

// mask makes the output of a command that is not read yet be masked.
func (p *Process) mask(values []string) {
	s := newSecrets(values)
	if s == nil {
		return
	}
	p.result.Masked = true
	p.Stdout().mask.Store(newMasker(s))
	p.Stderr().mask.Store(newMasker(s))
}

// watchExit makes finish run when the shell has exited.
func (p *Process) watchExit() {
	poller := p.runner.poller
	if p.pidfd >= 0 {
		err := poller.watch(p.pidfd, watchExit, func() {
			if hasExited(p.pid) {
				poller.forget(p.pidfd)
				worker.Go(p.finish)
			}
		})
		if err == nil {
			return
		}
	}
	go func() {
		awaitExit(p.pid)
		p.finish()
	}()
}
