package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// gate brings the goroutines of a daemon to rest. One that works is inside; one that waits for a
// command, a caller, a timer or a channel is outside. At rest none is inside, and enter blocks.
//
// It does not nest: a goroutine that is inside and enters again holds up rest for ever.
type gate struct {
	closing atomic.Bool // rest was called: those inside should leave soon

	mu      sync.Mutex
	inside  int
	resumed chan struct{} // closed by resume, nil while the gate is open
	empty   chan struct{} // closed when the last one has left, nil while nothing waits for that
}

var errResting = errors.New("cannot come to rest: another attempt is under way; " +
	"hint: try again when that has ended")

// enter waits until the gate is open.
func (g *gate) enter() {
	for !g.tryEnter() {
		g.mu.Lock()
		resumed := g.resumed
		g.mu.Unlock()
		if resumed != nil {
			<-resumed
		}
	}
}

func (g *gate) tryEnter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed != nil {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// run calls f on another goroutine, which is inside from the start. Its caller is inside as well.
func (g *gate) run(f func()) {
	g.mu.Lock()
	g.inside++
	g.mu.Unlock()
	go func() {
		defer g.leave()
		f()
	}()
}

// rest closes the gate and waits until none is inside. If the context ends before, it returns its
// error, and the gate is still closed.
func (g *gate) rest(ctx context.Context) error {
	g.mu.Lock()
	if g.resumed != nil {
		g.mu.Unlock()
		return errResting
	}
	g.closing.Store(true)
	g.resumed = make(chan struct{})
	empty := make(chan struct{})
	if g.inside == 0 {
		close(empty)
	} else {
		g.empty = empty
	}
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resume opens the gate. It does nothing if that is open.
func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed == nil {
		return
	}
	close(g.resumed)
	g.resumed, g.empty = nil, nil
	g.closing.Store(false)
}

func (g *gate) isResting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.resumed != nil && g.inside == 0
}

// count is how many are inside.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// RestError says that the daemon cannot come to rest, as a command blocks the pipe of its output.
type RestError struct {
	PID int // of the command's shell, also after its end
}

func (e *RestError) Error() string {
	return fmt.Sprintf("cannot come to rest: the command with process id %d blocks the pipe of "+
		"its output; hint: end its processes, or restart the service", e.PID)
}

// AwaitCalmThreads waits until no thread of this process is in an uninterruptible sleep. Such a
// thread would make an execve of this process hang. It fails after limit.
func AwaitCalmThreads(limit time.Duration) error {
	const poll = time.Millisecond
	for until := time.Now().Add(limit); ; time.Sleep(poll) {
		hanging, err := hangingThread()
		if err != nil {
			return fmt.Errorf("cannot see whether a thread of the daemon hangs: %w", err)
		}
		if hanging == "" {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("cannot execute another program: thread %s of the daemon hangs in "+
				"the kernel; hint: end commands that hang, or restart the service", hanging)
		}
	}
}

// hangingThread returns the id of a thread in an uninterruptible sleep, or an empty text.
func hangingThread() (id string, err error) {
	const tasks = "/proc/self/task"
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		thread, err := readStat(0, filepath.Join(tasks, entry.Name(), "stat"))
		if err == nil && thread.hanging { // else it may have ended
			return entry.Name(), nil
		}
	}
	return "", nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
