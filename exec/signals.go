package exec

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// inspectSignals undoes for commands what the daemon's own starter has set.
// A signal that is caught becomes a default one on exec, one that is ignored
// stays ignored: so what is ignored is caught, and nobody listens.
func (r *Runner) inspectSignals() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("cannot find out which signals commands would inherit as ignored: %w", err)
	}
	ignored, err := signalSet(status, "SigIgn")
	if err != nil {
		return err
	}
	blocked, err := signalSet(status, "SigBlk")
	if err != nil {
		return err
	}
	r.masked = blocked != 0
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
