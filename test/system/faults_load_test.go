package system

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// oneShot opens a new connection for each request.
func oneShot() *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
}

// run sends an errand. A sender with its own job id repeats it if no answer came.
func (m *model) run(d *daemon, client *http.Client, e *errand) answer {
	for tries := 1; ; tries++ {
		r := d.sign("POST", "/shell", e.body)
		a, err := do(client, r.http(d))
		m.note(e, r, a, err)
		if err == nil || !e.own || tries == 5 {
			return a
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// load lets workers send errands until stop is called, which returns when all are answered.
func (m *model) load(d *daemon, workers int, receivers []string) (stop func()) {
	var wg sync.WaitGroup
	var stopped atomic.Bool
	for range workers {
		wg.Go(func() {
			client := oneShot()
			for !stopped.Load() {
				m.run(d, client, m.newErrand(m.anyPlan(receivers)))
			}
		})
	}
	return func() { stopped.Store(true); wg.Wait() }
}

// send lets workers share a number of errands, over connections that stay open.
func (m *model) send(d *daemon, workers, count int, each func(i int) plan) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range workers {
		wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for i := next.Add(1); i <= int64(count); i = next.Add(1) {
				m.run(d, client, m.newErrand(each(int(i))))
			}
		})
	}
	wg.Wait()
}

// replay repeats some of the accepted requests, byte by byte. None may be accepted.
func (m *model) replay(d *daemon, count int) {
	m.t.Helper()
	m.mu.Lock()
	var captured []*errand
	for _, e := range m.errands { // the order of a map is random enough
		if e.accepted && e.sent.signature != "" && len(captured) < count {
			captured = append(captured, e)
		}
	}
	m.mu.Unlock()
	for _, e := range captured {
		a, err := d.try(e.sent)
		if err == nil && a.status == 401 {
			continue
		}
		m.mu.Lock()
		m.offend(e, &m.sum.replays, "its replay was answered with %d %.200s, %v", a.status, a.body, err)
		m.mu.Unlock()
	}
}
