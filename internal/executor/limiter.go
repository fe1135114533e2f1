package executor

import (
	"context"
	"sync"
	"time"
)

const (
	// maxAttemptsPerURL bounds the attempts to one URL that are under way at once: a slow or dead
	// function delays only its own callbacks.
	maxAttemptsPerURL = 4
	// maxAttemptsPerHost bounds them for one host and port, and so the memory and connections of a
	// receiver that hangs, if each of its callbacks has a URL of its own.
	maxAttemptsPerHost = 64
)

// limiter bounds how many attempts to each receiver are under way at once. It is safe for
// concurrent use.
type limiter struct {
	max int

	mu        sync.Mutex
	receivers map[string]*receiverSlots
}

type receiverSlots struct {
	used  chan struct{}
	users int // reference count: attempts that have or await a slot
}

func newLimiter(max int) *limiter {
	return &limiter{max: max, receivers: map[string]*receiverSlots{}}
}

// enter waits, outside of the gate, for a slot of the receiver with this name. It returns errLate
// once late fires, and errStopping once ctx is done. A free slot is had in any case.
func (l *limiter) enter(
	ctx context.Context, name string, late <-chan time.Time, g gate,
) (leave func(), err error) {
	r := l.retain(name)
	select {
	case r.used <- struct{}{}:
	default:
		err = r.await(ctx, late, g)
	}
	if err != nil {
		l.release(name, r)
		return nil, err
	}
	return func() {
		<-r.used
		l.release(name, r)
	}, nil
}

func (r *receiverSlots) await(ctx context.Context, late <-chan time.Time, g gate) error {
	g.Leave()
	defer g.Enter()
	select {
	case r.used <- struct{}{}:
		return nil
	case <-late:
		return errLate
	case <-ctx.Done():
		return errStopping
	}
}

func (l *limiter) retain(name string) *receiverSlots {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.receivers[name]
	if r == nil {
		r = &receiverSlots{used: make(chan struct{}, l.max)}
		l.receivers[name] = r
	}
	r.users++
	return r
}

func (l *limiter) release(name string, r *receiverSlots) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.users--
	if r.users == 0 {
		delete(l.receivers, name)
	}
}
