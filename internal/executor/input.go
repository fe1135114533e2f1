package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
)

const (
	maxScriptArgs       = 1000 // arguments of a script
	maxInterpreterParts = 64   // the program and its options
	// maxHeldInput bounds the stdin and scripts of all commands that are queued or run, in bytes:
	// four times the largest body.
	maxHeldInput = 64 << 20
)

// input is what a request hands to its command besides variables.
type input struct {
	stdin       []byte // nil: none, and the command reads /dev/null
	script      []byte // what the interpreter runs, in place of a command; nil: none
	interpreter []string
	args        []string
}

func decodeText(to *[]byte) decoder {
	return func(raw json.RawMessage) error {
		var text string
		err := decodeTo(&text, "a string")(raw)
		*to = []byte(text)
		return err
	}
}

func decodeBase64(to *[]byte) decoder {
	return func(raw json.RawMessage) error {
		*to = []byte{}
		if raw[0] != '"' || json.Unmarshal(raw, to) != nil {
			return errors.New("must be a string of base64 (RFC 4648, with its padding)")
		}
		return nil
	}
}

func decodeWords(to *[]string, most int) decoder {
	return func(raw json.RawMessage) error {
		var words []*string
		if json.Unmarshal(raw, &words) != nil {
			return errors.New("must be a list of strings")
		}
		if len(words) > most {
			return fmt.Errorf("has %d entries, at most %d are possible", len(words), most)
		}
		*to = make([]string, len(words))
		for i, word := range words {
			if word == nil {
				return fmt.Errorf("entry %d must be a string", i+1)
			}
			(*to)[i] = *word
		}
		return nil
	}
}

// check refuses keys of a body that do not go together. An empty stdin counts as none.
func (in *input) check(o object) error {
	for _, name := range []string{"stdin", "script"} {
		if o[name] != nil && o[name+"Base64"] != nil {
			return fmt.Errorf("%[1]s and %[1]sBase64 are there both: send one of them", name)
		}
	}
	for _, name := range []string{"interpreter", "args"} {
		if o[name] != nil && in.script == nil {
			return fmt.Errorf("%s: it is for a script, and there is none: send script", name)
		}
	}
	switch {
	case o["interpreter"] != nil && len(in.interpreter) == 0:
		return errors.New(`interpreter: must name a program such as ["/usr/bin/python3"]`)
	case in.script != nil && (o["command"] != nil || o["action"] != nil):
		return errors.New("script and command or action are there both: send one of them")
	case in.script != nil && len(in.script) == 0:
		return errors.New("script: it is empty: send what the interpreter should run")
	case len(in.stdin) == 0:
		in.stdin = nil
	}
	return nil
}

// apply hands the input to the command. An action has its own program, and no script.
func (in *input) apply(action string, c *exec.Command) {
	c.Stdin = in.stdin
	if in.script != nil && action == "" {
		c.Script = &exec.Script{Text: in.script, Interpreter: in.interpreter, Args: in.args}
	}
}

// checkAction refuses stdin that the action does not take.
func (in *input) checkAction(a *policy.Action) error {
	if in.stdin != nil && !a.Stdin {
		return fmt.Errorf("stdin: the action %s takes none (STDIN): leave it out", a.Name)
	}
	return nil
}

// digestFields are none for a request without stdin and script. Text and base64 of the same bytes
// are the same request.
func (in *input) digestFields() (fields []string) {
	if in.stdin != nil {
		fields = append(fields, "stdin", string(in.stdin))
	}
	if in.script != nil {
		fields = append(fields, "script", string(in.script), fmt.Sprint(len(in.interpreter)))
		fields = append(fields, in.interpreter...)
		fields = append(append(fields, fmt.Sprint(len(in.args))), in.args...)
	}
	return fields
}

// inputFacts are what is remembered of the input of a job, also in a handover.
type inputFacts struct {
	Stdin        int64  `json:",omitzero"` // bytes
	Script       int64  `json:",omitzero"` // bytes
	ScriptSHA256 string `json:",omitzero"` // hexadecimal
}

func (in *input) facts() inputFacts {
	f := inputFacts{Stdin: int64(len(in.stdin)), Script: int64(len(in.script))}
	if in.script != nil {
		sum := sha256.Sum256(in.script)
		f.ScriptSHA256 = hex.EncodeToString(sum[:])
	}
	return f
}

// held is how many bytes the input takes until the command has ended.
func (f inputFacts) held() int64 { return f.Stdin + f.Script }

// name is the command of a job that runs a script.
func (f inputFacts) name() string { return fmt.Sprintf("script (%d bytes)", f.Script) }

// fill adds the fields of an entry about a command and its end.
func (f inputFacts) fill(fields journal.Fields) {
	if f.Stdin > 0 {
		fields[journal.StdinBytes] = fmt.Sprint(f.Stdin)
	}
	if f.ScriptSHA256 != "" {
		fields[journal.ScriptSHA256] = f.ScriptSHA256
	}
}

// describeScript says what runs. With LOG_COMMANDS it shows the first line and the arguments.
func (l requestLog) describeScript(c *exec.Command, fields journal.Fields) string {
	s := c.Script
	program := []string{c.Shell}
	if len(s.Interpreter) > 0 {
		program = s.Interpreter
	}
	if !l.showCommands {
		program = program[:1]
	}
	text := fmt.Sprintf("script, %d bytes, %s", len(s.Text),
		journal.Quote(strings.Join(program, " "), maxLoggedReason))
	if !l.showCommands {
		return text
	}
	line, _, _ := bytes.Cut(s.Text, []byte("\n"))
	line = line[:min(len(line), maxLoggedCommand+utf8.UTFMax)]
	first := journal.Cut(strings.ToValidUTF8(string(line), "\ufffd"), maxLoggedCommand)
	fields[journal.Command] = first
	text += ": " + journal.Quote(first, maxLoggedCommand)
	if len(s.Args) > 0 {
		text += " with the arguments " +
			journal.Quote(strings.Join(s.Args, " "), maxLoggedReason)
	}
	return text
}

// inputFull is the refusal of a job above maxHeldInput.
func inputFull() error {
	return unavailablef("the stdin and the scripts of the commands that run or wait have %d MiB "+
		"together at most: try again later", maxHeldInput>>20)
}
