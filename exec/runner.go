package exec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// forksAtOnce bounds the forks that run at the same time. A fork holds its
// thread until the child has executed the shell; more than a few at once only
// make each other, and everything else, wait.
const forksAtOnce = 4

// Runner starts commands. It holds what they share: the fork gate, buffers,
// /dev/null, and what this kernel can do.
type Runner struct {
	forks   chan *fork
	buffers *buffers
	stdin   int // /dev/null for reading, every command's standard input
	null    int // /dev/null for writing, where output beyond the limit goes

	noOpenat2 bool // kernel before 5.6
	noPidfd   bool // kernel before 5.3
}

// NewRunner prepares for running commands. Commands get the process's umask as
// it is now. Descriptors that the daemon has inherited are closed on exec from
// now on, and signals that it ignores are caught instead, because commands
// would inherit both.
func NewRunner() (*Runner, error) {
	stdin, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s for commands: %w", os.DevNull, err)
	}
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(stdin)
		return nil, fmt.Errorf("cannot open %s for commands: %w", os.DevNull, err)
	}
	r := &Runner{
		forks: make(chan *fork), buffers: newBuffers(),
		stdin: stdin, null: null,
		noOpenat2: !hasOpenat2(), noPidfd: !hasPidfd(),
	}
	if err := inheritNothing(); err != nil {
		r.Close()
		return nil, err
	}
	for range forksAtOnce {
		startForker(r.forks)
	}
	return r, nil
}

// Close gives the shared descriptors back. No command may run any more.
func (r *Runner) Close() {
	close(r.forks)
	unix.Close(r.stdin)
	unix.Close(r.null)
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
	defer unix.Close(dir)
	f := &fork{command: c, dir: dir, stdin: r.stdin, pidfd: !r.noPidfd, done: make(chan struct{})}
	r.forks <- f
	<-f.done
	if f.err != nil {
		return nil, f.err
	}
	return r.follow(c, &f.child), nil
}

// follow begins to read the command's output and to wait for its end.
func (r *Runner) follow(c Command, child *child) *Process {
	p := newProcess(c, child)
	p.stdout.init(r, child.stdout, &p.result.Stdout, c.MaxOutput, p.streamEnded)
	p.stderr.init(r, child.stderr, &p.result.Stderr, c.MaxOutput, p.streamEnded)
	p.limit(c.Timeout)
	go p.stdout.run()
	go p.stderr.run()
	go p.watch()
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
