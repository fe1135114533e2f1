package system

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// Case 38: on a full disk requests with callbacks are refused, earlier callbacks are kept, and no
// replay is accepted after a kill.
func diskFull(t *testing.T, m *model) {
	s := newService(t, m, `DRAIN_TIMEOUT = "1s"`)
	mountSmall(t, s.stateDir())
	up, down := s.receiver(8100), s.receiver(8101)
	s.begin()
	m.send(s.daemon, 4, 60, func(i int) plan { return plan{sleep: "0", callback: up.url(), wait: i%2 == 0} })
	down.down()
	large := m.newErrand(plan{sleep: "1", more: "; yes | head -c 300000 >&2", callback: down.url()})
	if a := m.run(s.daemon, oneShot(), large); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	giveBack := fill(t, s.stateDir())
	s.promiseUntilRefused(m, up)
	m.send(s.daemon, 4, 60, func(int) plan { return plan{sleep: "0", wait: true} })
	s.awaitLog("A result is kept in memory only")
	down.up()
	m.awaitCallbacks(down, testkit.Patience)
	m.check()
	s.kill()
	m.noteRepeats(s.log())
	s.begin() // on the full disk
	m.replay(s.daemon, 50)
	s.eventually("work without callbacks", func() bool {
		return m.run(s.daemon, oneShot(), m.newErrand(plan{sleep: "0", wait: true})).status == 200
	})
	giveBack()
	s.eventually("promises", func() bool {
		return m.run(s.daemon, oneShot(), m.newErrand(plan{sleep: "0", callback: up.url()})).status == 200
	})
	m.settle(testkit.Patience)
	s.wantNothingLeft()
}

// noteRepeats notes the jobs of which a journal says that their callbacks may come once more.
func (m *model) noteRepeats(log string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.Lines(log) {
		if _, id, found := strings.Cut(strings.TrimSpace(line), " SIDECAR_JOB_ID="); found &&
			(strings.Contains(line, "A callback may be delivered once more after a restart") ||
				strings.Contains(line, "A result is kept in memory only")) {
			m.mayRepeat[strings.Fields(id)[0]] = true
		}
	}
}

// promiseUntilRefused sends errands with callbacks until the disk is full.
func (s *service) promiseUntilRefused(m *model, v *faultyReceiver) {
	s.t.Helper()
	for range 1000 {
		a := m.run(s.daemon, oneShot(), m.newErrand(plan{sleep: "0", callback: v.url()}))
		if a.status == 200 {
			continue
		}
		a.wantRefusal(s.t, 503, "cannot be promised")
		if a.header.Get("Retry-After") == "" {
			s.t.Error("503 without Retry-After")
		}
		return
	}
	s.t.Error("callbacks were promised on a full disk")
}

// mountSmall puts a file system of 2 MB at path.
func mountSmall(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=0700,size=2m")
	testkit.Need(t, err == nil, fmt.Sprintf("cannot mount a small file system: %v", err))
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
}

// fill uses all space at path until giveBack is called.
func fill(t *testing.T, path string) (giveBack func()) {
	t.Helper()
	name := filepath.Join(path, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	page := bytes.Repeat([]byte{1}, 4096)
	for range 1000 {
		if _, err := f.Write(page); err != nil {
			if !strings.Contains(err.Error(), "no space") {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(name) }
		}
	}
	t.Fatal("the disk did not fill up")
	return nil
}
