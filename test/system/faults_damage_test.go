package system

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// damage is a change of a state file while the daemon is stopped.
type damage struct {
	file, told string
	do         func(data []byte) []byte
}

func cutShort(data []byte) []byte { return data[:len(data)-5] }
func cutToFew(data []byte) []byte { return data[:3] }
func lost([]byte) []byte          { return nil }

func flipped(data []byte) []byte {
	data[len(data)/2] ^= 0x10
	return data
}

func zeroed(data []byte) []byte {
	clear(data)
	return data
}

// Case 39: any damage of a state file is reported. Replays stay refused, callbacks come or their
// loss is reported, and the daemon serves again after at most a time window.
func TestState_DamagedFilesAreReported(t *testing.T) {
	t.Parallel()
	const damaged, unsure = "A state file was damaged", "Requests signed up to"
	for name, what := range map[string]damage{
		"nonces cut short":      {"nonces-00.log", damaged, cutShort},
		"nonces flipped":        {"nonces-00.log", damaged, flipped},
		"nonces zeroed":         {"nonces-00.log", damaged, zeroed},
		"nonces gone":           {"nonces-00.log", damaged, lost},
		"mark cut short":        {"nonces.mark", unsure, cutToFew},
		"mark zeroed":           {"nonces.mark", unsure, zeroed},
		"mark gone":             {"nonces.mark", unsure, lost},
		"deliveries cut short":  {"deliveries-00.log", damaged, cutShort},
		"deliveries flipped":    {"deliveries-00.log", damaged, flipped},
		"deliveries zeroed":     {"deliveries-00.log", damaged, zeroed},
		"deliveries cut to few": {"deliveries-00.log", damaged, cutToFew},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, newModel(t), `TIME_WINDOW = "3s"`, `DRAIN_TIMEOUT = "500ms"`)
			s.surviveDamage(what)
		})
	}
}

func (s *service) surviveDamage(what damage) {
	s.t.Helper()
	m, v := s.m, s.receiver(8100)
	s.begin()
	v.be(fails)
	for i := range 6 {
		m.run(s.daemon, oneShot(), m.newErrand(plan{sleep: "0", wait: i%2 == 0, callback: v.url()}))
	}
	s.eventually("first attempts", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.arrivals) == 6
	})
	time.Sleep(1500 * time.Millisecond) // the synced position is recorded every second
	s.kill()
	path := filepath.Join(s.stateDir(), what.file)
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, what.do(data), 0o600); err != nil {
		s.t.Fatal(err)
	}
	v.be(takes)
	s.takeLog()
	s.launchWithSockets([]*os.File{s.socket})
	s.awaitLog("Ready: ")
	m.replay(s.daemon, 6)
	s.awaitLog(what.told)
	s.eventually("work", func() bool {
		return m.run(s.daemon, oneShot(), m.newErrand(plan{sleep: "0", wait: true, callback: v.url()})).status == 200
	})
	s.eventually("each callback, or the report of its loss", func() bool { return s.deliveredOrReported(what) })
	s.signal(s.pid, syscall.SIGTERM)
	s.awaitEnd()
}

// deliveredOrReported reports whether no callback is owed. For a job that the damaged file no
// longer names, the report of the damage counts.
func (s *service) deliveredOrReported(what damage) bool {
	log := s.log()
	for _, e := range s.m.owed() {
		named := strings.Contains(log, e.jobID)
		if !strings.HasPrefix(what.file, "deliveries") || named && !strings.Contains(log, "Callback lost") {
			return false
		}
	}
	return true
}
