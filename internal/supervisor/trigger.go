package supervisor

import (
	"os"

	"dataflux-func-sidecar/internal/journal"
)

const (
	triggerName = "reload-requested" // in the runtime directory
	maxRepeats  = 3                  // of a request, one each pingInterval, until the log says so
)

// reloadTrigger is how a daemon that has dropped root, and so cannot read its configuration, gets a
// reload at SIGHUP: it writes to a file of root, and dataflux-func-sidecar-reload.path then runs
// `systemctl reload`. The file is empty, or has one byte while a request waits; root empties it
// before that reload reads the configuration.
type reloadTrigger struct {
	file    *os.File // open for writing from before the drop
	repeats int      // of the request that waits
}

// openReloadTrigger returns nil if systemd did not start this process, or without a runtime
// directory.
func openReloadTrigger() *reloadTrigger {
	file, err := openRuntimeFile(triggerName)
	if err != nil {
		return nil
	}
	_ = file.Truncate(0) // this start reads the configuration
	return &reloadTrigger{file: file}
}

// waits says whether there is a request that root has not seen yet.
func (t *reloadTrigger) waits() bool {
	info, err := t.file.Stat()
	return err == nil && info.Size() > 0
}

func (t *reloadTrigger) write() error {
	_, err := t.file.WriteAt([]byte("\n"), 0)
	return err
}

// triggerReload asks systemd for a reload, unless an earlier request waits, which covers this one.
func (s *supervisor) triggerReload() {
	if s.trigger == nil {
		logf(s.log, journal.ReloadRefused(), "SIGHUP has no effect: only root can read the "+
			"configuration; hint: run systemctl reload dataflux-func-sidecar")
		return
	}
	if s.trigger.waits() {
		return
	}
	s.trigger.repeats = 0
	if err := s.trigger.write(); err != nil {
		logf(s.log, journal.ReloadRefused(), "SIGHUP has no effect: cannot ask systemd for a "+
			"reload: %v; hint: run systemctl reload dataflux-func-sidecar", err)
		return
	}
	logf(s.log, journal.ReloadTriggered(), "SIGHUP: systemd is asked for a reload")
}

// repeatTrigger repeats a request that waits: a path unit misses what happens at the moment when
// the unit that it has started ends.
func (s *supervisor) repeatTrigger() {
	if s.trigger == nil || !s.trigger.waits() {
		return
	}
	_ = s.trigger.write()
	if s.trigger.repeats++; s.trigger.repeats == maxRepeats {
		logf(s.log, journal.ReloadRefused(), "SIGHUP has no effect so far: systemd has not begun "+
			"the reload; hint: look at systemctl status dataflux-func-sidecar-reload.path, or run "+
			"systemctl reload dataflux-func-sidecar")
	}
}
