package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
)

// The waits between starts that fail, while systemd starts the daemon again and again.
const (
	firstStartWait = 5 * time.Second
	maxStartWait   = time.Minute
	repairInterval = time.Second // between two looks for a repair
	// stillInterval is between two entries about the same cause.
	stillInterval = time.Hour
	// extraStartTime is what systemd grants a start in addition to the wait.
	extraStartTime = 15 * time.Second
	maxRecord      = 64 << 10 // bytes
	maxCause       = 4 << 10  // bytes of the cause in it, each of up to six in JSON
)

// runtimeDirectory is RuntimeDirectory= of the unit, for systemd before 240, which does not tell
// it.
const runtimeDirectory = "/run/dataflux-func-sidecar"

// startRecord is what a start that failed leaves for the next one.
type startRecord struct {
	Cause  string    `json:"cause"`
	Since  time.Time `json:"since"`  // the first failure in a row
	Starts uint      `json:"starts"` // failures in a row
	Waits  uint      `json:"waits"`  // of them since the last repair
	Logged time.Time `json:"logged"` // the last entry about Cause
}

// FailedStarts remembers in the runtime directory how many starts have failed in a row. The start
// of an operator has no record of earlier ones, fails at once and says why. systemd then starts the
// daemon again and again (Restart=always): such a start waits before it ends, so that there are few
// of them, and says nothing new about the same cause. The unit removes the record of a daemon that
// got ready.
type FailedStarts struct {
	file    *os.File // open for writing from before the drop; nil: nothing is remembered
	record  startRecord
	options Options
	user    int    // effective user id at the start
	seen    string // what a repair would change, at the start
}

// OpenFailedStarts reads the record of earlier starts. It is called before Run, and remembers
// nothing if systemd did not start this process, or without a runtime directory.
func OpenFailedStarts(o Options) *FailedStarts {
	f := &FailedStarts{options: o, user: os.Geteuid()}
	file, err := openRuntimeFile("failed-starts")
	if err != nil {
		return f
	}
	f.file, f.seen = file, f.repairable()
	text, _ := io.ReadAll(io.LimitReader(file, maxRecord))
	if json.Unmarshal(text, &f.record) != nil { // empty: the last daemon was ready, or was stopped
		f.record = startRecord{}
	}
	return f
}

// openRuntimeFile opens a file of the runtime directory, and creates it if it is missing. It fails
// if systemd did not start this process.
func openRuntimeFile(name string) (*os.File, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, errors.New("there is no runtime directory")
	}
	directory := os.Getenv("RUNTIME_DIRECTORY")
	if directory == "" {
		directory = runtimeDirectory
	}
	return openHigh(filepath.Join(directory, name))
}

// openHigh opens a file at a descriptor above those of exec.Descriptors, of which each command is
// born with a copy.
func openHigh(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	const minDescriptor = 512
	high, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, minDescriptor)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(high), path), nil
}

// Report logs why this start failed, and returns when the process should end: at once after the
// first failure in a row; else when the wait is over, when configuration, program, TLS files or
// state directory have changed, or at SIGTERM, for which it returns true.
func (f *FailedStarts) Report(cause error, log *journal.Log) (stopped bool) {
	if errors.Is(cause, errServed) {
		logf(log, journal.StartFailed(), "Not serving: %v", cause)
		return false
	}
	first := f.record.Starts == 0
	f.log(cause, log)
	if f.file == nil {
		return false
	}
	if first {
		f.store()
		return false
	}
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	repaired := f.wait(stop)
	switch {
	case stop.Err() != nil:
		f.record = startRecord{}
	case repaired: // if it did not help, that is news
		f.record.Waits, f.record.Cause = 0, ""
	}
	f.store()
	return stop.Err() != nil
}

// log writes an entry about a new cause at once, and about the same one every stillInterval.
func (f *FailedStarts) log(cause error, log *journal.Log) {
	now, r := time.Now(), &f.record
	if r.Starts++; r.Starts == 1 {
		r.Since = now
	}
	text := cause.Error()
	switch known := journal.Cut(text, maxCause); {
	case known != r.Cause:
		r.Cause, r.Logged = known, now
		logf(log, journal.StartFailed(), "Not serving: %s", text)
	case now.Sub(r.Logged) > stillInterval || now.Before(r.Logged):
		r.Logged = now
		logf(log, journal.StartFailed(), "Still not serving, %d starts have failed since %s: %s",
			r.Starts, r.Since.Format(time.RFC3339), text)
	}
}

// store writes the record. A host without space for it has starts that do not wait.
func (f *FailedStarts) store() {
	if f.file.Truncate(0) != nil || f.record.Starts == 0 {
		return
	}
	if text, err := json.Marshal(f.record); err == nil {
		_, _ = f.file.WriteAt(text, 0)
	}
}

// wait returns true when a repair was seen, and false when the time is over or stop is done.
func (f *FailedStarts) wait(stop context.Context) (repaired bool) {
	seen := f.seen
	if os.Geteuid() != f.user { // after the drop less can be looked at
		seen = f.repairable()
	}
	wait := min(firstStartWait<<min(f.record.Waits, 10), maxStartWait)
	f.record.Waits++
	until := time.Now().Add(wait)
	notifier := newNotifier()
	notifier.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (wait + extraStartTime).Microseconds()))
	notifier.setStatus(fmt.Sprintf("Not serving: %s; %d starts have failed since %s, the next one "+
		"is at %s or after a change", strings.ReplaceAll(f.record.Cause, "\n", "; "),
		f.record.Starts, f.record.Since.Format(time.RFC3339), until.Format(time.TimeOnly)))
	for time.Now().Before(until) && stop.Err() == nil {
		if f.repairable() != seen {
			return true
		}
		sleep(stop, repairInterval)
	}
	return false
}

// repairable describes everything whose change may let the next start succeed.
func (f *FailedStarts) repairable() string {
	files := []string{f.options.Config}
	if program, err := os.Executable(); err == nil {
		files = append(files, program)
	}
	if text, _, err := config.Read(f.options.Config); err == nil {
		if settings, err := config.Parse(f.options.Config, text); err == nil {
			files = append(files, settings.Files()...)
		}
	}
	var text strings.Builder
	for _, path := range files {
		var s unix.Stat_t
		err := unix.Stat(path, &s)
		fmt.Fprintln(&text, path, err, s.Ino, s.Size, s.Ctim)
	}
	// The daemon itself changes the directory's times, and others change the free space.
	var s unix.Stat_t
	err := unix.Stat(f.options.StateDir, &s)
	fmt.Fprintln(&text, err, s.Ino, s.Uid, s.Mode)
	var system unix.Statfs_t
	err = unix.Statfs(f.options.StateDir, &system)
	const enough = 1 << 20 // bytes
	fmt.Fprintln(&text, err, system.Flags, system.Ffree > 0,
		system.Bavail*uint64(system.Bsize) >= enough)
	return text.String()
}
