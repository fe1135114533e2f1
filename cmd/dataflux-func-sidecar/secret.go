package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Bounds of a secret value, in bytes, and how many a request may have.
const (
	minSecretValue  = 8
	maxSecretValue  = 4 << 10
	maxSecretValues = 16
)

func (o *callOptions) registerSecrets(flags *flag.FlagSet) {
	flags.Func("secret-env", "`NAME` of a variable of this process that the command gets and "+
		"whose value is masked in the output, or NAME=@FILE with the value; may be repeated",
		o.addSecret)
	flags.Func("traceparent", "`CONTEXT` of a trace (W3C Trace Context) for the command and the "+
		"journal", nonEmpty(&o.command.Traceparent))
}

// addSecret only notes the text: package flag repeats what is refused here, and that may be a
// value.
func (o *callOptions) addSecret(text string) error {
	o.secrets = append(o.secrets, text)
	return nil
}

// readSecrets sets the secret variables of the command. It takes no value from the arguments, which
// all users can read, and has none in its errors.
func (o *callOptions) readSecrets() error {
	if len(o.secrets) > maxSecretValues {
		return fmt.Errorf("--secret-env: a job has at most %d of them", maxSecretValues)
	}
	for _, text := range o.secrets {
		name, source, isGiven := strings.Cut(text, "=")
		if !variableName.MatchString(name) {
			return errors.New("--secret-env: write the NAME of a variable, or NAME=@FILE")
		}
		value, err := secretValue(name, source, isGiven)
		if err != nil {
			return fmt.Errorf("--secret-env %s: %w", name, err)
		}
		o.command.SecretEnvs = append(o.command.SecretEnvs, name+"="+value)
	}
	return nil
}

func secretValue(name, source string, isGiven bool) (value string, err error) {
	path, isFile := strings.CutPrefix(source, "@")
	switch {
	case isFile:
		value, err = readSecretValue(path)
	case isGiven:
		return "", errors.New("a value here is in the list of processes: write NAME=@FILE, or " +
			"NAME alone for the value that it has in the environment")
	default:
		var found bool
		if value, found = os.LookupEnv(name); !found {
			err = errors.New("the environment has no such variable")
		}
	}
	if err != nil {
		return "", err
	}
	switch n := len(value); {
	case n < minSecretValue || n > maxSecretValue:
		return "", fmt.Errorf("the value must have %d to %d bytes: a shorter one would mask "+
			"what is no secret", minSecretValue, maxSecretValue)
	case !utf8.ValidString(value):
		return "", errors.New("the value is not UTF-8, and a request is")
	}
	return value, nil
}

// readSecretValue reads a file without the line break at its end.
func readSecretValue(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretValue+2))
	return strings.TrimSuffix(string(text), "\n"), err
}
