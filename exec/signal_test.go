package exec

import (
	"syscall"
	"testing"
)

func TestEverySignalHasAName(t *testing.T) {
	for sig, want := range map[syscall.Signal]string{1: "SIGHUP", 15: "SIGTERM", 32: "SIG32", 34: "SIGRTMIN", 35: "SIGRTMIN+1", 64: "SIGRTMIN+30"} {
		if got := SignalName(sig); got != want {
			t.Errorf("%d is %s, want %s", sig, got, want)
		}
	}
	for sig := syscall.Signal(1); sig <= lastRealTime; sig++ {
		if got := SignalNumber(SignalName(sig)); got != sig {
			t.Errorf("%d is called %s, which is %d", sig, SignalName(sig), got)
		}
	}
	if got := SignalNumber("SIGNONE"); got != 0 {
		t.Errorf("a name of no signal is %d", got)
	}
}
