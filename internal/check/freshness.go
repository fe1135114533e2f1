package check

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/units"
)

// checkFreshness finds a configuration, or a file of secrets, that changed after the service read
// it. A certificate is compared with the one that the service shows.
func checkFreshness(c *checker) (found []Finding) {
	read, known := LastRead(c.units[units.Service], c.StateDir)
	if !known {
		return nil
	}
	for _, path := range append([]string{c.Config}, c.settings.Files()...) {
		info, err := os.Stat(path)
		if err != nil || path == c.settings.TLSCertificate || path == c.settings.TLSKey {
			continue
		}
		if changed := info.ModTime(); changed.After(read) {
			found = append(found, warning("%s has changed since the service has read it (%s "+
				"later)", path, changed.Sub(read).Round(time.Second)).fix(c.apply()))
		}
	}
	if len(found) == 0 {
		found = append(found, ok("the service has read the configuration as it is"))
	}
	return found
}

// LastRead returns when the running service read its configuration: at its start, or at the last
// reload, which sets the time of the control socket. unit is the service with the properties
// ActiveState and ExecMainStartTimestampMonotonic.
func LastRead(unit units.Properties, stateDir string) (read time.Time, known bool) {
	// In microseconds. Zero if the service does not run.
	start, err := strconv.ParseInt(unit["ExecMainStartTimestampMonotonic"], 10, 64)
	if err != nil || start == 0 || unit["ActiveState"] != "active" {
		return read, false
	}
	if read, err = wallTime(time.Duration(start) * time.Microsecond); err != nil {
		return read, false
	}
	info, err := os.Lstat(filepath.Join(stateDir, controlSocket))
	if err == nil && info.Mode().Type() == os.ModeSocket && info.ModTime().After(read) {
		read = info.ModTime()
	}
	return read, true
}

// controlSocket is the name in the state directory of the socket through which a reload is asked
// for.
const controlSocket = "control"

// wallTime converts a time of CLOCK_MONOTONIC. A busy host may stop this process for a while
// between two readings of the clocks, so they are repeated until they lie within a millisecond.
func wallTime(monotonic time.Duration) (wall time.Time, err error) {
	for range 100 {
		var before, after unix.Timespec
		err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		now := time.Now()
		err = errors.Join(err, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after))
		wall = now.Add(monotonic - time.Duration(before.Nano()))
		if err != nil || after.Nano()-before.Nano() < int64(time.Millisecond) {
			break
		}
	}
	return wall, err
}
