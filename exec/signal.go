package exec

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The C library keeps the kernel's first real-time signals for itself (signal(7)).
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// SignalName is a signal's name as kill(1) takes it, such as SIGTERM or SIGRTMIN+6.
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	switch above := int(sig) - firstRealTime; {
	case above == 0:
		return "SIGRTMIN"
	case above > 0 && sig <= lastRealTime:
		return "SIGRTMIN+" + strconv.Itoa(above)
	}
	return "SIG" + strconv.Itoa(int(sig))
}

// SignalNumber is the signal that SignalName calls name, 0 if there is none.
func SignalNumber(name string) syscall.Signal {
	for sig := syscall.Signal(1); sig <= lastRealTime; sig++ {
		if SignalName(sig) == name {
			return sig
		}
	}
	return 0
}
