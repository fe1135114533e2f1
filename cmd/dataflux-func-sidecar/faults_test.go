package main_test

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// faultRounds is how long the suite goes on: 50 rounds in CI, hundreds before a release.
func faultRounds() int {
	if n, err := strconv.Atoi(os.Getenv("SIDECAR_FAULT_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 50
}

// longRun says that time does not matter.
func longRun() bool { return faultRounds() > 50 }

// faultSeed is new in each run unless one is given.
func faultSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("SIDECAR_FAULT_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano()) % 1e9
}

// The promise of the whole: whatever happens, a command that was accepted runs at most once, its
// callback comes, a replay is refused, and nothing is left behind.
func TestFaults(t *testing.T) {
	t.Parallel()
	needRoot(t)
	var all total
	t.Run("all", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *model){
			"kills":         killsAtRandom,
			"restarts":      restartsUnderLoad,
			"receiver down": receiverDown,
			"disk full":     diskFull,
			"many commands": manyCommands,
			"overload":      overload,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := newModel(t)
				defer all.add(m)
				scenario(t, m)
			})
		}
	})
	all.tell(t)
}

// Cases 2, 35 and 44: each role is killed at random points under load, receivers fail meanwhile, and
// after each fault everything known so far is judged.
func killsAtRandom(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "1s"`, `KILL_GRACE = "300ms"`, "MAX_CALLBACKS = 5000")
	steady, fickle := s.receiver(8100), s.receiver(8101)
	s.begin()
	stop := m.load(s.daemon, 5, []string{steady.url(), fickle.url()})
	for range faultRounds() {
		time.Sleep(time.Duration(m.n(200)) * time.Millisecond)
		fickle.change(m)
		s.fault()
		m.replay(s.daemon, 5)
		m.check()
		if t.Failed() {
			break
		}
	}
	stop()
	fickle.up()
	fickle.be(takes)
	s.stopInOrder() // the next start delivers at once what is left
	s.begin()
	m.settle(2 * time.Minute)
	s.wantNothingLeft()
}

// fault is one of those that the daemon must survive.
func (s *service) fault() {
	s.t.Helper()
	switch n := s.m.n(20); {
	case n < 7:
		s.kill()
		s.begin()
	case n < 10: // and again while it starts
		s.kill()
		s.launchWithSockets([]*os.File{s.socket})
		time.Sleep(time.Duration(s.m.n(120)) * time.Millisecond)
		s.kill()
		s.begin()
	case n < 16:
		s.killRole()
	case n < 18:
		s.killRole()
		time.Sleep(time.Duration(s.m.n(50)) * time.Millisecond)
		s.kill()
		s.begin()
	default:
		s.stopInOrder()
		s.begin()
	}
}

// change gives the receiver another mood, or ends it, or brings it up again.
func (v *faultyReceiver) change(m *model) {
	v.be(mood(m.n(int(moodKind))))
	if m.n(3) == 0 {
		v.down()
		return
	}
	v.up()
}

// wantNothingLeft counts what the daemon still has when everything is answered and delivered.
func (s *service) wantNothingLeft() {
	s.t.Helper()
	var left []int
	var born []string
	for range 300 {
		left, born = s.rest(), children(s.t, s.pid)
		if len(left) == 0 && len(born) == 1 { // the network role
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.m.mu.Lock()
	s.m.sum.leaks += max(1, len(left))
	s.m.mu.Unlock()
	s.t.Errorf("there are still %s, and the children %v", describe(left), born)
}
