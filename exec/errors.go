package exec

import (
	"errors"
	"fmt"
	"strconv"
)

// Fault says which side caused a failed start.
type Fault int

const (
	// FaultRequest: the same request would fail again; the sender must change it.
	FaultRequest Fault = iota + 1
	// FaultConfiguration: the configured shell cannot be run.
	FaultConfiguration
	// FaultHost: the host lacks a resource; the same request may work later.
	FaultHost
)

// StartError is the only type of error that this package returns for a command.
type StartError struct {
	Fault Fault
	What  string // what failed, and what to change
	Err   error  // the cause, nil if What says it all

	noDir bool // the working directory cannot be entered
}

func (e *StartError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return fmt.Sprintf("%s: %v", e.What, e.Err)
}

// Unwrap returns the cause, for errors.Is and errors.As.
func (e *StartError) Unwrap() error { return e.Err }

// FaultOf returns the side that caused err. An error that is not a StartError counts as the host's,
// so that no request is blamed for it.
func FaultOf(err error) Fault {
	var start *StartError
	if errors.As(err, &start) {
		return start.Fault
	}
	return FaultHost
}

func requestFault(cause error, format string, args ...any) error {
	return &StartError{Fault: FaultRequest, What: fmt.Sprintf(format, args...), Err: cause}
}

func configurationFault(cause error, format string, args ...any) error {
	return &StartError{Fault: FaultConfiguration, What: fmt.Sprintf(format, args...), Err: cause}
}

func hostFault(cause error, format string, args ...any) error {
	return &StartError{Fault: FaultHost, What: fmt.Sprintf(format, args...), Err: cause}
}

// quote makes text from a request safe and short enough for one log line.
func quote(text string) string {
	const enough = 200
	if len(text) > enough {
		return strconv.Quote(text[:enough]) + "..."
	}
	return strconv.Quote(text)
}
