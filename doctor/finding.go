package doctor

import "fmt"

// Level is how bad a finding is.
type Level string

// The levels, from good to bad. Only a Failure keeps the service from what it is there for.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
	// Command mends it when root runs it in a shell. Without one the message says what to change.
	Command string `json:"command,omitempty"`
}

func well(format string, args ...any) Finding {
	return Finding{Level: OK, Message: fmt.Sprintf(format, args...)}
}

func unwise(format string, args ...any) Finding {
	return Finding{Level: Warning, Message: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) Finding {
	return Finding{Level: Failure, Message: fmt.Sprintf(format, args...)}
}

func (f Finding) mendedBy(command string) Finding {
	f.Command = command
	return f
}

func (f Finding) String() string {
	text := string(f.Level) + ": " + f.Message
	if f.Command != "" {
		text += ": run " + f.Command
	}
	return text
}
