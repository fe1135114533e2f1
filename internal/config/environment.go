package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	maxVariables = 256
	// maxEnvironment bounds names and values together, in bytes. The kernel takes 128 KiB for one
	// variable, and far more for a command with its environment.
	maxEnvironment = 64 << 10
)

// Environment holds the variables that every command gets, by name.
type Environment map[string]Secret

// Secret is a text that may be secret, such as the value of a variable. Every way to print it
// prints a placeholder.
type Secret string

// String returns the placeholder.
func (Secret) String() string { return hidden }

// GoString returns the placeholder.
func (Secret) GoString() string { return hidden }

// Format prints the placeholder for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns the placeholder, also for JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns the placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// variableErrors holds the faults of single variables, by name. Their texts hold neither a value
// nor a name that is not one of our keys; the position tells which variable it is.
type variableErrors map[string]error

func (v variableErrors) Error() string {
	return fmt.Sprintf("has %d variables that cannot be used", len(v))
}

// parseEnvironment returns nil for an empty table, like a file without the key.
func parseEnvironment(table map[string]any) (Environment, error) {
	if len(table) > maxVariables {
		return nil, fmt.Errorf("has %d variables, and at most %d are possible: set the others in "+
			"the commands", len(table), maxVariables)
	}
	var parsed Environment
	size, faults := 0, variableErrors{}
	for name, value := range table {
		text, err := parseVariable(name, value)
		if err != nil {
			faults[name] = err
			continue
		}
		if parsed == nil {
			parsed = Environment{}
		}
		parsed[name] = Secret(text)
		size += len(name) + len(text)
	}
	switch {
	case len(faults) > 0:
		return nil, faults
	case size > maxEnvironment:
		return nil, fmt.Errorf("has names and values of %d bytes, and at most %d are possible: "+
			"hand long ones over in a file", size, maxEnvironment)
	}
	return parsed, nil
}

// parseVariable enforces the kernel's rules: a name is not empty and holds no '=', and neither name
// nor value holds a NUL byte.
func parseVariable(name string, value any) (string, error) {
	text, ok := value.(string)
	switch {
	case IsKey(name) && name != "SHELL":
		// A line below [ENVIRONMENT] belongs to that table, also if it was not meant to.
		return "", fmt.Errorf("%s is a key of this file, and stands in the table ENVIRONMENT: "+
			"write it above the line [ENVIRONMENT]", name)
	case !ok:
		return "", errors.New("a variable of ENVIRONMENT must be a text in double quotes: " +
			`write NAME = "value"`)
	case name == "":
		return "", errors.New(`a variable of ENVIRONMENT has no name: write NAME = "value"`)
	case strings.ContainsAny(name, "=\x00"):
		return "", errors.New("the name of a variable of ENVIRONMENT holds an equals sign or a " +
			"NUL byte: remove it")
	case strings.ContainsRune(text, 0):
		return "", errors.New("the value of a variable of ENVIRONMENT holds a NUL byte: remove it")
	}
	return text, nil
}
