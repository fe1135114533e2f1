package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/journal"
)

// A request is written once, and again while root has not emptied the file. The log says so once.
func TestTrigger_RequestThatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), triggerName)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	var out bytes.Buffer
	log := journal.New(&out)
	s := &supervisor{log: log}
	s.trigger = &reloadTrigger{file: file}

	s.repeatTrigger()
	if got := size(); got != 0 {
		t.Errorf("without SIGHUP: got %d bytes, want none", got)
	}
	for range 3 {
		s.triggerReload()
	}
	if got := size(); got != 1 {
		t.Errorf("after SIGHUP: got %d bytes, want one", got)
	}
	for range 2 * maxRepeats {
		s.repeatTrigger()
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	s.repeatTrigger()
	if got := size(); got != 0 {
		t.Errorf("after root has seen it: got %d bytes, want none", got)
	}
	s.triggerReload()
	if got := size(); got != 1 {
		t.Errorf("after another SIGHUP: got %d bytes, want one", got)
	}
	log.Flush(time.Minute)
	for text, want := range map[string]int{
		"SIGHUP: systemd is asked for a reload": 2, "SIGHUP has no effect so far": 1,
	} {
		if got := strings.Count(out.String(), text); got != want {
			t.Errorf("got %q %d times, want %d:\n%s", text, got, want, out.String())
		}
	}
}
