package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// MaxInput bounds the stdin and the script of a command in bytes: no Sidecar takes a larger body
// (MAX_BODY), and most take 1 MiB.
const MaxInput = 16 << 20

// Input is what a command gets besides variables. It is sent as text or in base64, which of them is
// shorter.
type Input struct {
	Stdin       string `json:"stdin,omitempty"`
	StdinBytes  []byte `json:"stdinBase64,omitempty"` // in place of Stdin
	Script      string `json:"script,omitempty"`      // in place of a command
	ScriptBytes []byte `json:"scriptBase64,omitempty"`
	// Interpreter runs the script: absolute path and options; empty: the shell of the Sidecar.
	Interpreter []string `json:"interpreter,omitempty"`
	Args        []string `json:"args,omitempty"` // of the script
}

// SetStdin makes data the standard input. Empty data counts as none.
func (in *Input) SetStdin(data []byte) { in.Stdin, in.StdinBytes = shorter(data) }

// SetScript makes text what is run. A first line such as "#!/usr/bin/python3 -I" names the
// interpreter, as it does for the kernel, if there is none yet.
func (in *Input) SetScript(text []byte) {
	in.Script, in.ScriptBytes = shorter(text)
	if line, isNamed := bytes.CutPrefix(text, []byte("#!")); isNamed && len(in.Interpreter) == 0 {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		in.Interpreter = interpreterOf(string(line))
	}
}

// HasScript reports whether a script is what is run.
func (in *Input) HasScript() bool { return in.Script != "" || in.ScriptBytes != nil }

// interpreterOf returns a program and all of its options as one argument, as the kernel passes
// them; nil if the line has none.
func interpreterOf(line string) []string {
	program, option, _ := strings.Cut(strings.Trim(line, " \t\r"), " ")
	switch option = strings.Trim(option, " \t"); {
	case !strings.HasPrefix(program, "/") || !utf8.ValidString(line):
		return nil
	case option == "":
		return []string{program}
	}
	return []string{program, option}
}

// shorter returns data as a text if that is valid and no longer in JSON than in base64.
func shorter(data []byte) (text string, encoded []byte) {
	if len(data) == 0 || !utf8.Valid(data) {
		return "", data
	}
	quoted, err := json.Marshal(string(data))
	if err != nil || len(quoted)-2 > base64.StdEncoding.EncodedLen(len(data)) {
		return "", data
	}
	return string(data), nil
}
