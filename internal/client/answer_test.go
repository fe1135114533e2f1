package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"dataflux-func-sidecar/internal/config"
)

// answering returns a client whose requests are all answered with status 200 and this body.
func answering(body func() io.Reader) *Client {
	c := New(Target{name: "test", base: "http://test"}, Key{Secret: config.Key("key")})
	c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: 200, Status: "200 OK", Body: io.NopCloser(body()), Request: r,
		}, nil
	})
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

func run(c *Client) (stdout, stderr string, job Job, err error) {
	var out, errs bytes.Buffer
	job, err = c.Run(context.Background(), Command{Command: "true", JobID: "a"}, &out, &errs)
	return out.String(), errs.String(), job, err
}

// answerWith returns an answer as the executor writes it: text always, base64 for what is not
// UTF-8.
func answerWith(stdout, stderr []byte) []byte {
	data := map[string]any{
		"stdout": string(
			stdout,
		),
		"stderr":   string(stderr),
		"jobId":    `a"\\`,
		"exitCode": 3,
		"signal":   nil,
		"processes": []int{
			1, 2,
		},
		"stdoutBytes": len(stdout),
		"later":       map[string]any{"nested": []string{"]}", `\"`}},
	}
	for name, bytes := range map[string][]byte{"stdoutBase64": stdout, "stderrBase64": stderr} {
		if !utf8.Valid(bytes) {
			data[name] = base64.StdEncoding.EncodeToString(bytes)
		}
	}
	text, _ := json.Marshal(map[string]any{"ok": true, "message": "said\n", "data": data})
	return text
}

func outputs() map[string][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string][]byte{
		"empty": nil, "text": []byte("one\ntwo\t\x00\x1b\u2028\"\\/ <&> 你好 😀"),
		"every byte": all,
		"a genuine U+FFFD": []byte(
			"before \ufffd after",
		),
		"a genuine one, then no text": []byte("a\ufffdb\xffc"),
		"a torn character": []byte(
			"你好\xe4\xbd",
		),
		"long text":                    []byte(strings.Repeat("你好世界\n", 40_000)),
		"long, and no text at its end": append([]byte(strings.Repeat("é", 70_000)), 0xff),
		"long, and no text":            bytes.Repeat([]byte{0xff, 0xfe}, 50_000),
	}
}

func TestRun_RestoresOutputByteForByte(t *testing.T) {
	for name, want := range outputs() {
		answer := answerWith(want, []byte("e\xff"))
		for how, body := range map[string]func() io.Reader{
			"whole":          text(string(answer)),
			"in small reads": func() io.Reader { return iotest.HalfReader(bytes.NewReader(answer)) },
		} {
			stdout, stderr, job, err := run(answering(body))
			if err != nil || stdout != string(want) || stderr != "e\xff" {
				t.Errorf(
					"%s, %s: got %d bytes %.80q, stderr %q, %v, want %d bytes and e\\xff", name,
					how, len(stdout), stdout, stderr, err, len(want),
				)
			}
			if job.Message != `said\n` || job.JobID != `a"\\` || job.ExitCode == nil ||
				*job.ExitCode != 3 ||
				job.Signal != nil ||
				len(job.Processes) != 2 {
				t.Errorf("%s, %s: got job %+v", name, how, job)
			}
		}
	}
}

// Go's encoder does not write these escapes; another one may.
func TestRun_EveryEscapeOfJSON(t *testing.T) {
	for escaped, want := range map[string]string{
		`\u0041\/\b\f\u00e9\uD83D\uDE00`: "A/\b\fé😀", `\ud83d`: "\ufffd", `\ud83dx`: "\ufffdx", `\ud83d\u0041`: "\ufffdA",
	} {
		stdout, _, _, err := run(answering(text(`{"data" : {"stdout": "` + escaped + `"} }`)))
		if err != nil || stdout != want {
			t.Errorf("%s: got %q, %v, want %q", escaped, stdout, err, want)
		}
	}
}

func TestRun_MalformedAnswer(t *testing.T) {
	whole := string(answerWith([]byte("a\xffb"), []byte("c")))
	answers := []string{
		`{"data":{"stdout":"\x"}}`, `{"data":{"stdout":5}}`, `{"data":{"stdoutBase64":"AAA"}}`,
		`{"data":{"stdoutBase64":"????"}}`, `[]`, `{"data":{"exitCode":"x"}}`, `{"a" 1}`,
		`{"a":1 "b":2}`,
	}
	for n := range whole {
		answers = append(answers, whole[:n])
	}
	for _, answer := range answers {
		stdout, stderr, _, err := run(answering(text(answer)))
		if !errors.Is(err, ErrStranger) || stdout != "" || stderr != "" {
			t.Errorf(
				"%q: got %q, %q, %v, want no output and %v", answer, stdout, stderr, err,
				ErrStranger,
			)
		}
	}
}

func TestRun_BrokenConnection(t *testing.T) {
	broken := func() io.Reader {
		return io.MultiReader(
			strings.NewReader(`{"data":{"stdout":"half`), iotest.ErrReader(io.ErrUnexpectedEOF),
		)
	}
	if stdout, _, _, err := run(answering(broken)); !MayHaveArrived(err) || stdout != "" {
		t.Errorf(
			"got %q, %v, want no output and an error that says that the request may have arrived",
			stdout, err,
		)
	}
}

func TestRun_FailureOfTheWriterIsItsError(t *testing.T) {
	full := errors.New("full")
	c := answering(text(`{"data":{"stdout":"a","stderr":"b","exitCode":0}}`))
	for name, to := range map[string][2]io.Writer{"stdout": {failing{full}, io.Discard}, "stderr": {io.Discard, failing{full}}} {
		if _, err := c.Run(context.Background(), Command{}, to[0], to[1]); !errors.Is(err, full) {
			t.Errorf("%s: got %v, want %v", name, err, full)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A job can have as many processes as the host.
func TestJob_ManyProcesses(t *testing.T) {
	const n = 100_000
	ids := strings.Repeat("1234567,", n-1) + "1234567"
	c := answering(text(`{"data":{"jobId":"a","processes":[` + ids + `]}}`))
	job, err := c.Job(context.Background(), "a")
	if err != nil || len(job.Processes) != n {
		t.Errorf("got %d processes, %v, want %d", len(job.Processes), err, n)
	}
}

func TestJob_AnswerWithoutID(t *testing.T) {
	_, err := answering(text(`{"ok":true,"data":{"state":"ended"}}`)).Job(context.Background(), "a")
	if !errors.Is(err, ErrStranger) {
		t.Errorf("got %v, want %v", err, ErrStranger)
	}
}

// An answer that says nothing must not pass for a command without a result.
func TestRun_AnswerWithoutJob(t *testing.T) {
	for _, answer := range []string{
		`{}`, `null`, `{"data":null}`, `{"ok":false,"message":"no","data":null}`, `{"data":{}}`,
		`{"data":{"exitCode":0}}`,
	} {
		if _, _, _, err := run(answering(text(answer))); !errors.Is(err, ErrStranger) {
			t.Errorf("%s: got %v, want %v", answer, err, ErrStranger)
		}
	}
}

// endless repeats a text for ever.
type endless struct{ text, rest string }

func newEndless(text string) *endless {
	return &endless{text: strings.Repeat(text, 1+(64<<10)/len(text))}
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.text
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestAnswer_WithoutEndIsBounded(t *testing.T) {
	for name, test := range map[string]struct{ head, repeated, want string }{
		"keys":    {`{"data":{"a":1`, `,"abcdefghijklmnopqrstuvwxyz":"` + strings.Repeat("x", 1000) + `"`, "more than 65536"},
		"output":  {`{"data":{"stdout":"`, "你", "more than 65536"},
		"escapes": {`{"data":{"stdout":"`, `\u0041`, "more than 65536"},
		"no text": {`{"data":{"stdout":"`, "\x80", "more than 65536"},
		"message": {`{"message":"`, "x", "more than 65536"},
		"number":  {`{"data":{"exitCode":1`, "1", "more than 65536"},
		"jobs":    {`{"data":{"jobs":[`, `{"jobId":"a","command":"` + strings.Repeat("x", 10_000) + `"},`, "more than 65536"},
		"nesting": {`{"data":{"jobs":`, "[", "exceeded max depth"},
		"spaces":  {`{`, " ", "more than 65536"},
	} {
		c := answering(func() io.Reader {
			return io.MultiReader(strings.NewReader(test.head), newEndless(test.repeated))
		}).Limit(64 << 10)
		_, _, _, err := run(c)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Run: got %.300v, want %q", name, err, test.want)
		}
		for call, do := range map[string]func() error{
			"Jobs": func() error { _, err := c.Jobs(context.Background()); return err },
			"Job":  func() error { _, err := c.Job(context.Background(), "a"); return err },
			"Raw":  func() error { _, err := c.Raw(context.Background(), "GET", "/jobs", nil); return err },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %s: got %.300v, want %q", name, call, err, test.want)
			}
		}
	}
}

// An error quotes the answer at most in part.
func TestRun_ErrorIsBounded(t *testing.T) {
	_, _, _, err := run(
		answering(text(`{"data":{"exitCode":` + strings.Repeat("1", 256<<10) + `}}`)),
	)
	if !errors.Is(err, ErrStranger) || len(err.Error()) > 2*maxMessage {
		t.Errorf(
			"got an error of %d bytes, want up to %d: %.300v", len(err.Error()), 2*maxMessage, err,
		)
	}
}

// FuzzRun proves that no answer causes a panic, or output that is longer than it can be.
func FuzzRun(f *testing.F) {
	for _, output := range outputs() {
		if len(output) < 1000 {
			f.Add(answerWith(output, output))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		stdout, stderr, _, err := run(answering(text(string(answer))))
		if err == nil && len(stdout)+len(stderr) > 3*len(answer) {
			t.Errorf(
				"%q: got %d bytes of output, want up to %d", answer, len(stdout)+len(stderr),
				3*len(answer),
			)
		}
	})
}
