package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/client"
)

// inputOptions are those of shell and run that send more than a command.
type inputOptions struct {
	sendsInput  bool
	script      string // a file, - for standard input; empty: a command is run
	interpreter string
}

func (o *inputOptions) registerStdin(flags *flag.FlagSet) {
	flags.BoolVar(&o.sendsInput, "stdin", false,
		"send standard input, to its end; without it the command reads /dev/null")
}

func (o *inputOptions) registerScript(flags *flag.FlagSet) {
	flags.Func("script", "`FILE` with a script to run in place of a command, - for standard "+
		"input; what follows are its arguments", nonEmpty(&o.script))
	flags.Func("interpreter", "absolute `PATH` of the program that runs the script, and its "+
		"options after blanks (default: that of its line #!, else SHELL of the Sidecar)",
		nonEmpty(&o.interpreter))
}

// readsInput reports whether standard input is sent, as a whole.
func (o *inputOptions) readsInput() bool { return o.sendsInput || o.script == "-" }

// checkInput returns an error for options that do not go together.
func (o *inputOptions) checkInput(keyFile string) error {
	program, _, _ := strings.Cut(strings.TrimSpace(o.interpreter), " ")
	switch {
	case o.interpreter != "" && o.script == "":
		return errors.New("--interpreter is for a script: give one with --script, or leave it out")
	case o.interpreter != "" && !path.IsAbs(program):
		return errors.New("--interpreter needs an absolute path, such as /usr/bin/python3")
	case o.sendsInput && o.script == "-":
		return errors.New("standard input is the script: leave --stdin out, " +
			"or give the script in a file")
	case o.readsInput() && keyFile == "-":
		return errors.New("standard input is the key: give that with --key, in a file, or in " +
			keyVariable)
	}
	return nil
}

// readInput sets the input of the command. It blocks until standard input has ended.
func (o *inputOptions) readInput(in *client.Input, stdin io.Reader) error {
	if o.sendsInput {
		data, err := readAllInput("standard input", stdin)
		if err != nil {
			return err
		}
		in.SetStdin(data)
	}
	if o.script == "" {
		return nil
	}
	text, err := o.readScript(stdin)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return errors.New("the script is empty: give what the interpreter should run")
	}
	in.Interpreter = strings.Fields(o.interpreter)
	in.SetScript(text)
	return nil
}

func (o *inputOptions) readScript(stdin io.Reader) ([]byte, error) {
	if o.script == "-" {
		return readAllInput("the script on standard input", stdin)
	}
	file, err := os.Open(o.script)
	if err != nil {
		return nil, fmt.Errorf("--script: %w", err)
	}
	defer func() { _ = file.Close() }()
	return readAllInput("the script", file)
}

func readAllInput(what string, from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, client.MaxInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", what, err)
	case len(data) > client.MaxInput:
		return nil, fmt.Errorf("%s has more than %d MiB, and a Sidecar takes no more (MAX_BODY, "+
			"which is 1 MiB by default): copy it to the host as a file", what, client.MaxInput>>20)
	}
	return data, nil
}

// sayNoInput reports that standard input was not sent, after a call that might have meant it.
func (s *commandCall) sayNoInput() {
	if s.readsInput() || s.keyFile == "-" || s.quiet || !hasUnread(s.stdin) {
		return
	}
	s.note("the command did not get standard input: it reads /dev/null")
	switch {
	case s.command.Action != "":
		s.hint("to send it, add --stdin; the action must take it (STDIN)")
	case s.script != "":
		s.hint("to send it, add --stdin")
	default:
		s.hint("to send it, add --stdin; to run it, use --script - in place of the command")
	}
}

// hasUnread returns whether standard input has data that a caller may have meant for the command: a
// pipe that is not empty, or a file of which nothing was read. A loop over the lines of a file has
// read some of it. It reads nothing and does not block.
func hasUnread(stdin io.Reader) bool {
	file, isFile := stdin.(*os.File)
	if !isFile {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	switch info.Mode().Type() {
	case 0:
		offset, err := file.Seek(0, io.SeekCurrent)
		return err == nil && offset == 0 && info.Size() > 0
	case os.ModeNamedPipe, os.ModeSocket:
		n, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCINQ)
		return err == nil && n > 0
	}
	return false
}
