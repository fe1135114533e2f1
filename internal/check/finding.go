package check

import "fmt"

// Level is the severity of a finding.
type Level string

// The levels, from good to bad. The service cannot work as configured only with a Failure.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is the result of one look.
type Finding struct {
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
	// Command fixes it when root runs it in a shell. Without one the message says what to change.
	Command string `json:"command,omitempty"`
}

func ok(format string, args ...any) Finding {
	return Finding{Level: OK, Message: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Finding {
	return Finding{Level: Warning, Message: fmt.Sprintf(format, args...)}
}

func failure(format string, args ...any) Finding {
	return Finding{Level: Failure, Message: fmt.Sprintf(format, args...)}
}

// fix returns the finding with the command that fixes it.
func (f Finding) fix(command string) Finding {
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
