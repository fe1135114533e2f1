package exec

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Script is the text of a program that an interpreter reads, in place of Command.Text. It is no
// argument, so that ps does not show it and MAX_ARG_STRLEN does not bound it.
type Script struct {
	Text        []byte
	Interpreter []string // absolute path of a program, and its options; empty: Command.Shell
	Args        []string // arguments of the script
}

const (
	// scriptDescriptor is the one descriptor above 2 that a command may have.
	scriptDescriptor = 3
	// scriptPath is what the interpreter opens. It belongs to the command's process: the magic link
	// opens the file anew, at its start, whatever was read from the descriptor.
	scriptPath = "/dev/fd/3"
)

func (s *Script) argv(shell string) []string {
	argv := append([]string(nil), s.Interpreter...)
	if len(argv) == 0 {
		argv = append(argv, shell)
	}
	return append(append(argv, scriptPath), s.Args...)
}

// validate checks all but the shell, if that is the interpreter.
func (s *Script) validate() error {
	if len(s.Text) == 0 {
		return requestFault(nil, "the script is empty: send what the interpreter should run")
	}
	if len(s.Interpreter) > 0 && !filepath.IsAbs(s.Interpreter[0]) {
		return requestFault(nil, "the interpreter %s is not an absolute path: "+
			"name one such as /usr/bin/python3", quote(s.Interpreter[0]))
	}
	if err := validateWords("part %d of the interpreter", s.Interpreter); err != nil {
		return err
	}
	return validateWords("argument %d of the script", s.Args)
}

func validateWords(name string, words []string) error {
	for i, word := range words {
		what := fmt.Sprintf(name, i+1)
		switch {
		case strings.IndexByte(word, 0) >= 0:
			return requestFault(nil, "%s contains a NUL byte: remove it", what)
		case len(word) >= maxArgument:
			return requestFault(nil, "%s has %d bytes, at most %d are possible: "+
				"hand it over in stdin", what, len(word), maxArgument-1)
		}
	}
	return nil
}
