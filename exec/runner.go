package exec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/crew"
	"dataflux-func-sidecar/nowait"
)

// finishers is how many goroutines wait for commands to end, at most. Each has a stack of some KiB.
const finishers = 4

// Runner starts commands. It holds what they share: descriptors, buffers, and
// what this kernel can do.
type Runner struct {
	own     *Descriptors
	spawner spawner
	files   files
	buffers *buffers
	poller  *poller
	crew    *crew.Crew

	cgroups *Cgroups // nil: commands have none of their own
	orphans *orphans // nil: orphans are left to init
	session int
	census  census

	noOpenat2 bool // kernel before 5.6
}

// NewRunner prepares for running commands, and opens descriptors of its own if
// it is given none. Commands get the process's umask as it is now. Descriptors
// that the daemon has inherited are closed on exec from now on, and signals that
// it ignores are caught instead, because commands would inherit both.
func NewRunner(own *Descriptors) (*Runner, error) {
	if err := inheritNothing(); err != nil {
		return nil, err
	}
	if own == nil {
		var err error
		if own, err = NewDescriptors(); err != nil {
			return nil, err
		}
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("cannot tell commands' processes apart: %w", err)
	}
	files, err := findFiles()
	if err != nil {
		return nil, fmt.Errorf("cannot find out the limit of descriptors that commands get: %w", err)
	}
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	r := &Runner{
		own: own, spawner: newSpawner(), files: files, buffers: newBuffers(), poller: poller, crew: crew.New(finishers),
		session: session, noOpenat2: !hasOpenat2(),
	}
	stockThreads()
	return r, nil
}

// Close is for a runner that starts nothing any more. What runs goes on: the
// descriptors go when nothing uses them, as a stream may still be drained.
func (r *Runner) Close() {
	r.poller.close()
	r.orphans.stop()
}

// UseCgroups gives each command a cgroup of its own from now on. It is called
// after the drop and before the first command. After an error commands run as
// without; then AdoptOrphans is the next best.
func (r *Runner) UseCgroups(c *Cgroups) error {
	if err := c.prepare(r.spawner); err != nil {
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
	dir, err := r.openDir(c.Dir)
	if err != nil {
		return nil, err
	}
	defer nowait.Close(dir)
	child, err := r.fork(c, dir)
	if err != nil {
		return nil, err
	}
	return r.follow(c, &child), nil
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
