package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// restartsUnderLoad restarts the daemon repeatedly during new connections, over sockets that stay
// open. No connection is lost, and each gets the result of its command.
func restartsUnderLoad(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "20s"`, "KEEP_JOBS = 100000")
	v := s.receiver(8100)
	s.begin()
	restarts := 20
	if longRun() {
		restarts = 100
	}
	plans := []plan{{sleep: "0", wait: true}, {sleep: "0.05", wait: true, callback: v.url()}, {sleep: "0", callback: v.url()}, {sleep: "0.3", wait: true, own: true}}
	var stops []func()
	for _, p := range plans {
		stops = append(stops, m.repeat(s.daemon, p))
	}
	for range restarts {
		time.Sleep(time.Duration(m.n(150)) * time.Millisecond)
		s.stopInOrder()
		s.begin()
		m.replay(s.daemon, 3)
		m.check()
	}
	for _, stop := range stops {
		stop()
	}
	m.settle(testkit.Patience)
	m.wantNoneLost()
	m.checkKept(s.daemon)
	s.wantNothingLeft()
}

// repeat sends errands of one kind, one after the other, until it is stopped.
func (m *model) repeat(d *daemon, p plan) (stop func()) {
	ask, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		client := oneShot()
		for {
			select {
			case <-ask:
				return
			default:
				m.run(d, client, m.newErrand(p))
			}
		}
	}()
	return func() { close(ask); <-done }
}

// wantNoneLost checks that every connection got the right answer.
func (m *model) wantNoneLost() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errors) > 0 {
		m.t.Errorf("%d of %d connections were lost, such as %.1000s", len(m.errors), len(m.errands), fmt.Sprint(m.errors))
	}
	for _, e := range m.errands {
		if e.status != 200 || e.wait && !e.told {
			m.t.Errorf("%s: answered with %d, its end told: %t", e.token, e.status, e.told)
		}
	}
}

// Cases 44 and 47: a receiver is down for long while the daemon is killed, stopped and started.
// Another receiver is not delayed. When the first is up again, it gets each callback.
func receiverDown(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "1s"`)
	alive, dead := s.receiver(8100), s.receiver(8101)
	s.begin()
	dead.down()
	pause := 2 * time.Second
	if longRun() {
		pause = time.Minute
	}
	for _, interrupt := range []func(){s.killRole, s.kill, s.stopInOrder} {
		m.send(s.daemon, 4, 40, func(i int) plan {
			return plan{sleep: "0", wait: i%2 == 0, callback: []string{alive.url(), dead.url()}[i/2%2]}
		})
		m.awaitCallbacks(alive, testkit.Patience)
		time.Sleep(pause)
		interrupt()
		if !s.running() {
			s.begin()
		}
		m.replay(s.daemon, 10)
		m.check()
	}
	time.Sleep(pause)
	dead.up()
	m.settle(4 * time.Minute) // the pauses between attempts can be as long as the receiver was down
	m.checkKept(s.daemon)
	s.wantNothingLeft()
}

// awaitCallbacks fails the test unless one receiver gets all its owed callbacks soon.
func (m *model) awaitCallbacks(v *faultyReceiver, within time.Duration) {
	m.t.Helper()
	owed := -1
	for end := time.Now().Add(within); owed != 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		owed = 0
		for _, e := range m.owed() {
			if strings.Contains(e.body, v.url()) {
				owed++
			}
		}
	}
	if owed != 0 {
		m.t.Errorf("%d callbacks for %s wait, although it is up", owed, v.address)
	}
}
