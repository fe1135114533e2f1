package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/units"
)

// systemd-analyze timespan says the same of each.
func TestTimesAreReadAsSystemdDoes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"20": 20 * time.Second, "120 s": 2 * time.Minute, "45s": 45 * time.Second, "1.5 min": 90 * time.Second,
		"2min": 2 * time.Minute, "1min 50s": 110 * time.Second, "1min50s": 110 * time.Second, "55s500ms": 55500 * time.Millisecond,
		"2 hours": 2 * time.Hour, "1h 2m 3": 3723 * time.Second, "1d": 24 * time.Hour, "1week": 168 * time.Hour, "7 µs": 7 * time.Microsecond,
		"infinity": 0, "0": 0, "": 0, "soon": 0, "5 parsecs": 0, "s": 0, "-5s": 0, "1.2.3": 0, "1min, 5s": 0,
	} {
		if got := timeSpan(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if got := timeSpan("99999999999999 weeks"); got < 1000*time.Hour {
		t.Errorf("a long time becomes %s", got)
	}
}

func TestADrainThatSystemdCutsShortIsFound(t *testing.T) {
	for _, test := range []struct {
		drain   time.Duration
		setting string
		warned  bool
	}{
		{100 * time.Second, "", true},
		{100 * time.Second, "TimeoutStopSec=120", false},
		{100 * time.Second, "TimeoutStopSec=2min", false},
		{100 * time.Second, "TimeoutStopSec=infinity", false},
		{100 * time.Second, "TimeoutStopSec=1min 45s", true},
		{100 * time.Second, "TimeoutStopSec=whatever", false},
		{30 * time.Second, "", false},
		{30 * time.Second, "TimeoutStopSec=20", true},
		{30 * time.Second, "TimeoutSec=20", true},
	} {
		dir := t.TempDir()
		dropIn := filepath.Join(dir, units.Service+".d", "stop.conf")
		if err := os.Mkdir(filepath.Dir(dropIn), 0o755); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{filepath.Join(dir, units.Service): "TimeoutStopSec=45s", dropIn: test.setting} {
			if err := os.WriteFile(path, []byte("[Service]\n"+text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := &patient{Options: Options{UnitDir: dir}, settings: config.Config{DrainTimeout: test.drain, KillGrace: 5 * time.Second}}
		found := p.checkStop()
		if (len(found) > 0) != test.warned || test.warned && !strings.Contains(found[0].String(), "raise TimeoutStopSec") {
			t.Errorf("%s with %q: %v", test.drain, test.setting, found)
		}
	}
}
