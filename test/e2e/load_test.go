package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func errUnexpected(answer shellAnswer) error {
	return fmt.Errorf("message %q, data %+v", answer.Message, answer.Data)
}

// load sends signed requests without a pause, each on a new connection.
type load struct {
	workers  sync.WaitGroup
	ended    atomic.Bool
	answered atomic.Int64
	lost     chan error
}

func (m *machine) startLoad(clients int) *load {
	m.t.Helper()
	l := &load{lost: make(chan error, 1000)}
	c := m.client(defaultAddress)
	for worker := range clients {
		l.workers.Go(func() { l.work(c, worker) })
	}
	return l
}

func (l *load) work(c *client, worker int) {
	for call := 0; call < 20_000 && !l.ended.Load(); call++ {
		want := fmt.Sprintf("%d-%d\n", worker, call)
		status, answer, err := c.post(map[string]any{"command": "printf '%s\\n' " + want})
		switch {
		case err != nil:
		case status != 200 || answer.Data == nil || answer.Data.Stdout != want:
			err = fmt.Errorf("status %d: %w", status, errUnexpected(answer))
		default:
			l.answered.Add(1)
			continue
		}
		select {
		case l.lost <- err:
		default:
		}
	}
}

// stop ends the load and reports every request with a wrong answer.
func (l *load) stop(t *testing.T) (answered int64) {
	t.Helper()
	l.ended.Store(true)
	l.workers.Wait()
	close(l.lost)
	for err := range l.lost {
		t.Errorf("lost: %v", err)
	}
	return l.answered.Load()
}
