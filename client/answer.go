package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// errAnswer is an answer of another form than the protocol's.
var errAnswer = errors.New("the answer is not of the protocol's form")

// readAnswer copies a command's output out of the JSON of an answer while it arrives, and returns the
// rest. The output of a command can be hundreds of megabytes, each byte up to six in JSON.
func readAnswer(r io.Reader, stdout, stderr io.Writer) (Job, error) {
	out, err := newExact(stdout), newExact(stderr)
	sinks := map[string]io.Writer{
		"stdout": out, "stderr": err, "stdoutBase64": out.base64(), "stderrBase64": err.base64(),
	}
	s := newScanner(r)
	facts := map[string]json.RawMessage{}
	var job Job
	failed := s.object(func(key string) error {
		switch key {
		case "message":
			return s.value(&job.Message)
		case "data":
			return s.object(func(key string) error { return s.field(key, sinks, facts) })
		}
		return s.value(new(any))
	})
	if failed == nil {
		failed = errors.Join(out.finish(), err.finish(), decodeFacts(facts, &job))
	}
	return job, failed
}

// field passes the strings that have a sink on, and keeps everything else.
func (s *scanner) field(key string, sinks map[string]io.Writer, facts map[string]json.RawMessage) error {
	if sink := sinks[key]; sink != nil {
		return s.text(sink)
	}
	raw, err := s.raw()
	facts[key] = raw
	return err
}

func decodeFacts(facts map[string]json.RawMessage, job *Job) error {
	text, err := json.Marshal(facts)
	if err == nil {
		err = json.Unmarshal(text, job)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}
