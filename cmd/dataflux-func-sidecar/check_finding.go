package main

import (
	"encoding/json"
	"fmt"
)

type level string

const (
	levelOK      level = "ok"
	levelWarning level = "warning"
	levelFailure level = "failure"
)

// finding is one thing that was looked at.
type finding struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`
	// Command mends it when root runs it in a shell. Without one the message says what to change.
	Command string `json:"command,omitempty"`
}

func well(format string, args ...any) finding {
	return finding{Level: levelOK, Message: fmt.Sprintf(format, args...)}
}

func unwise(format string, args ...any) finding {
	return finding{Level: levelWarning, Message: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) finding {
	return finding{Level: levelFailure, Message: fmt.Sprintf(format, args...)}
}

func (f finding) mendedBy(command string) finding {
	f.Command = command
	return f
}

func (f finding) String() string {
	text := string(f.Level) + ": " + f.Message
	if f.Command != "" {
		text += ": run " + f.Command
	}
	return text
}

// report tells people of findings as they are made, and programs of all at the end.
type report struct {
	terminal
	json     bool
	findings []finding
}

func (r *report) add(check string, found []finding) {
	for _, f := range found {
		f.Check = check
		r.findings = append(r.findings, f)
		if !r.json {
			fmt.Fprintln(r.stdout, f)
		}
	}
}

func (r *report) finish() int {
	failures := 0
	for _, f := range r.findings {
		if f.Level == levelFailure {
			failures++
		}
	}
	if r.json {
		encoder := json.NewEncoder(r.stdout)
		encoder.SetEscapeHTML(false) // commands have && in them
		_ = encoder.Encode(struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{failures == 0, r.findings})
	}
	return min(failures, 1)
}
