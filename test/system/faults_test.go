package system

import (
	"os"
	"strconv"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// faultRounds is the number of rounds: 50 in CI, hundreds before a release.
func faultRounds() int {
	if n, err := strconv.Atoi(os.Getenv("SIDECAR_FAULT_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 50
}

// longRun reports whether a long run was asked for.
func longRun() bool { return faultRounds() > 50 }

// faultSeed returns the given seed, or a random one.
func faultSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("SIDECAR_FAULT_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano()) % 1e9
}

// TestFaults proves the promises under faults: an accepted command runs at most once, its callback
// comes, a replay is refused, and no process or file is left.
func TestFaults(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	var all total
	t.Run("all", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *model){
			"kills":         killsAtRandom,
			"restarts":      restartsUnderLoad,
			"reloads":       reloadsUnderLoad,
			"reload kills":  killsDuringReloads,
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

// Cases 2, 35 and 44: each role is killed at random moments under load, while receivers fail. After
// each fault everything known so far is checked.
func killsAtRandom(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "1s"`, `KILL_GRACE = "300ms"`, "MAX_CALLBACKS = 5000", "KEEP_JOBS = 100000", "KEEP_BYTES = 134217728")
	steady, fickle := s.receiver(8100), s.receiver(8101)
	steady.be(small)
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
	s.stopInOrder() // the next start delivers the remaining callbacks at once
	s.begin()
	m.settle(2 * time.Minute)
	m.checkKept(s.daemon)
	s.wantNothingLeft()
}

// fault injects a random fault that the daemon must survive.
func (s *service) fault() {
	s.t.Helper()
	switch n := s.m.n(20); {
	case n < 7:
		s.kill()
		s.begin()
	case n < 10: // and again during its start
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

// change gives the receiver another mood, stops it or starts it.
func (v *faultyReceiver) change(m *model) {
	v.be(mood(m.n(int(moodKind))))
	if m.n(3) == 0 {
		v.down()
		return
	}
	v.up()
}

// wantNothingLeft counts the processes and resources of the daemon after all answers and
// deliveries.
func (s *service) wantNothingLeft() {
	s.t.Helper()
	var left []int
	var born []string
	for end := time.Now().Add(testkit.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		left, born = s.rest(), children(s.t, s.pid)
		if len(left) == 0 && len(born) == 1 { // the network role
			return
		}
	}
	s.m.mu.Lock()
	s.m.sum.leaks += max(1, len(left))
	s.m.mu.Unlock()
	s.t.Errorf("there are still %s, and the children %v", describe(left), born)
}
