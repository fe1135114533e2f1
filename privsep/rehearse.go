package privsep

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
)

// RehearsalFD is the descriptor under which the program of Rehearse has its input.
const RehearsalFD = 3

// maxLastWords bounds the wait for the standard error of a program that has ended.
const maxLastWords = time.Second

// Rehearse executes a program, and returns nil if it exits with status 0 within the limit. The
// program has the real user and group of this process in all of its ids, an empty environment,
// RehearsalFD, standard error, and /dev/null as standard input and output. It dies with this
// process. The error has the first line that it wrote to standard error.
func Rehearse(program *os.File, args []string, input *os.File, limit time.Duration) error {
	var words lastWords
	pid, exited, err := forkRehearsal(program, args, input, &words)
	if err != nil {
		return fmt.Errorf("cannot execute the program: %w", err)
	}
	// The child shared this memory when it changed its ids, as in ForkThread.StartRole.
	failed := SetNonDumpable()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-exited:
	case <-late.C:
		failed = fmt.Errorf("it did not finish within %s", limit)
	}
	if failed != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		select {
		case <-exited:
		case <-time.After(maxDeath):
			go func() {
				<-exited
				_, _ = reap(pid)
			}()
			return failed
		}
	}
	status, err := reap(pid)
	if failed != nil || err != nil {
		return errors.Join(failed, err)
	}
	return words.verdict(status)
}

// reap takes the status of a child that has ended.
func reap(pid int) (status syscall.WaitStatus, err error) {
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			return status, err
		}
	}
}

// forkRehearsal closes exited when the program has ended. The caller reaps it.
func forkRehearsal(
	program *os.File, args []string, input *os.File, words *lastWords,
) (pid int, exited chan struct{}, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = null.Close() }()
	output, stderr, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = stderr.Close() }()
	words.listen(output)
	rehearsal := exec.Program{
		File: program, Arguments: args,
		Files: []int{rawFD(null), rawFD(null), rawFD(stderr), rawFD(input)},
	}
	type birth struct {
		pid int
		err error
	}
	started := make(chan birth)
	exited = make(chan struct{})
	go func() { // its thread ends with the program: see exec.Program
		runtime.LockOSThread()
		pid, err := rehearsal.Launch()
		started <- birth{pid, err}
		if err == nil {
			for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			}
			close(exited)
		}
	}()
	child := <-started
	runtime.KeepAlive(input)
	return child.pid, exited, child.err
}

// lastWords is what a program writes to standard error.
type lastWords struct {
	first string
	once  sync.Once
	ended chan struct{}
}

func (w *lastWords) listen(output *os.File) {
	w.ended = make(chan struct{})
	go func() {
		newLineReader(output, func(line string) {
			w.once.Do(func() { w.first = line })
		}).run()
		close(w.ended)
	}()
}

// verdict is nil for a program that has exited with status 0.
func (w *lastWords) verdict(status syscall.WaitStatus) error {
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	how := "it " + describeStatus(status)
	select {
	case <-w.ended:
		if w.first != "" {
			how += ": " + w.first
		}
	case <-time.After(maxLastWords):
	}
	return errors.New(how)
}

func describeStatus(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("ended with exit status %d", status.ExitStatus())
}
