package exec

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// inheritNothing keeps from commands what the daemon's own starter has set.
func inheritNothing() error {
	if err := closeOnExec(); err != nil {
		return err
	}
	return catchIgnored()
}

// closeOnExec keeps descriptors from commands that were open when the daemon
// was started. Those that it opens itself are closed on exec anyway.
func closeOnExec() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot find out which descriptors commands would inherit: %w", err)
	}
	for _, entry := range open {
		// One that is gone was that of the folder itself.
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// catchIgnored replaces ignoring signals by catching them, and nobody listens:
// a signal that is caught becomes a default one on exec, one that is ignored
// stays ignored.
func catchIgnored() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("cannot find out which signals commands would inherit as ignored: %w", err)
	}
	ignored, err := signalSet(status, "SigIgn")
	if err != nil {
		return err
	}
	nobody := make(chan os.Signal, 1)
	for number := syscall.Signal(1); number <= 64; number++ {
		if ignored&(1<<(number-1)) != 0 {
			signal.Notify(nobody, number)
		}
	}
	return nil
}

// signalSet reads one of the signal masks in a /proc/PID/status.
func signalSet(status []byte, name string) (uint64, error) {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s from /proc/self/status: %w", name, err)
	}
	return set, nil
}
