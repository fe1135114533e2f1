package listener

import (
	"context"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// inbox holds the frames of one stream until they are taken. The executor's credit bounds how much
// lies in it (message.Window), so that put never has to wait.
type inbox struct {
	arrived chan struct{} // holds a token while frames may be waiting

	mu     sync.Mutex
	frames []message.Frame
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{}, 1)} }

func (i *inbox) put(f message.Frame) {
	i.mu.Lock()
	i.frames = append(i.frames, f)
	i.mu.Unlock()
	select {
	case i.arrived <- struct{}{}:
	default:
	}
}

// take returns the next frame, or the context's error once that is done.
func (i *inbox) take(ctx context.Context) (message.Frame, error) {
	for {
		if f, ok := i.next(); ok {
			return f, nil
		}
		select {
		case <-i.arrived:
		case <-ctx.Done():
			return message.Frame{}, ctx.Err()
		}
	}
}

func (i *inbox) next() (message.Frame, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.frames) == 0 {
		return message.Frame{}, false
	}
	f := i.frames[0]
	i.frames = i.frames[1:]
	return f, true
}

// isEmpty says that nothing waits to be taken right now.
func (i *inbox) isEmpty() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.frames) == 0
}
