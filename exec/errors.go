package exec

import (
	"errors"
	"fmt"
)

// Fault says on whose side the cause of a failed start lies.
type Fault int

const (
	// FaultRequest: the same request would fail again; its sender must change it.
	FaultRequest Fault = iota + 1
	// FaultConfiguration: the configured shell cannot be run.
	FaultConfiguration
	// FaultHost: the host is out of something; the same request may work later.
	FaultHost
)

// StartError is the only kind of error that this package returns for a command.
type StartError struct {
	Fault Fault
	What  string // what could not be done, and what to change
	Err   error  // the cause, nil if What says it all
}

func (e *StartError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return fmt.Sprintf("%s: %v", e.What, e.Err)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *StartError) Unwrap() error { return e.Err }

// FaultOf tells whose fault err is. What this package did not classify counts
// as the host's, so that no request is blamed for something it did not cause.
func FaultOf(err error) Fault {
	var start *StartError
	if errors.As(err, &start) {
		return start.Fault
	}
	return FaultHost
}

func requestFault(format string, args ...any) error {
	return &StartError{Fault: FaultRequest, What: fmt.Sprintf(format, args...)}
}
