package exec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/crew"
)

// forksAtOnce bounds the forks that run at the same time. A fork holds its
// thread until the child has executed the shell; more than a few at once only
// make each other, and everything else, wait.
const forksAtOnce = 4

// finishers is how many goroutines wait for commands to end, at most. Each has a stack of some KiB.
const finishers = 4

// Runner starts commands. It holds what they share: the fork gate, buffers,
// /dev/null, and what this kernel can do.
type Runner struct {
	forks   chan *fork
	buffers *buffers
	poller  *poller
	crew    *crew.Crew
	stdin   *os.File // /dev/null for reading, every command's standard input
	null    *os.File // /dev/null for writing, where output beyond the limit goes

	home    home     // empty: forkers start every command
	cgroups *Cgroups // nil: commands have none of their own
	orphans *orphans // nil: orphans are left to init
	session int
	census  census

	noOpenat2 bool // kernel before 5.6
	noPidfd   bool // kernel before 5.3
}

// NewRunner prepares for running commands. Commands get the process's umask as
// it is now. Descriptors that the daemon has inherited are closed on exec from
// now on, and signals that it ignores are caught instead, because commands
// would inherit both.
func NewRunner() (*Runner, error) {
	if err := inheritNothing(); err != nil {
		return nil, err
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare commands' input: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		stdin.Close()
		return nil, fmt.Errorf("cannot prepare commands' output: %w", err)
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("cannot tell commands' processes apart: %w", err)
	}
	poller, err := newPoller()
	if err != nil {
		stdin.Close()
		null.Close()
		return nil, err
	}
	r := &Runner{
		forks: make(chan *fork), buffers: newBuffers(), poller: poller, crew: crew.New(finishers),
		stdin: stdin, null: null, session: session,
		noOpenat2: !hasOpenat2(), noPidfd: !hasPidfd(),
	}
	stockThreads()
	for range forksAtOnce {
		startForker(r.forks)
	}
	return r, nil
}

// Close ends the forkers: nothing can be started any more, what runs goes on.
// The descriptors go when nothing uses them: a stream may still be drained.
func (r *Runner) Close() {
	close(r.forks)
	r.poller.close()
	r.orphans.stop()
}

// UseCgroups gives each command a cgroup of its own from now on. It is called
// after the drop and before the first command. After an error commands run as
// without; then AdoptOrphans is the next best.
func (r *Runner) UseCgroups(c *Cgroups) error {
	if err := c.prepare(); err != nil {
		return err
	}
	r.cgroups = c
	return nil
}

// Start runs a command and returns when its shell has been executed. Its
// errors are of type StartError.
func (r *Runner) Start(c Command) (*Process, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Dir == r.home.dir {
		if f := r.fork(c, -1); r.home.start(f) == nil {
			return r.follow(c, &f.child), nil
		}
	}
	dir, err := r.openDir(c.Dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	f := r.fork(c, dir)
	r.forks <- f
	<-f.done
	if f.err != nil {
		return nil, f.err
	}
	return r.follow(c, &f.child), nil
}

func (r *Runner) fork(c Command, dir int) *fork {
	return &fork{
		command: c, dir: dir, stdin: int(r.stdin.Fd()), pidfd: !r.noPidfd,
		cgroups: r.cgroups, orphans: r.orphans, done: make(chan struct{}),
	}
}

// follow begins to read the command's output and to wait for its end.
func (r *Runner) follow(c Command, child *child) *Process {
	p := newProcess(c, child)
	p.crew = r.crew
	p.orphans, p.kin = r.orphans, kin{group: child.pid, session: r.session, census: &r.census, held: new(held)}
	p.pipes = r.read(child, &p.result, c.MaxOutput)
	p.limit(c.Timeout)
	p.watch(r.poller)
	return p
}

// hasOpenat2 asks for what is surely there. Some sandboxes answer EPERM to
// system calls they do not know, which is not told apart here.
func hasOpenat2() bool {
	fd, err := openBeneathNoMagic("/")
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func hasPidfd() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
