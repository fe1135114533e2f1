package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// answerWith is an answer as the executor writes it: text always, base64 beside what is no text.
func answerWith(stdout, stderr []byte) []byte {
	data := map[string]any{
		"stdout": string(stdout), "stderr": string(stderr), "jobId": `a"\\`, "exitCode": 3, "signal": nil,
		"processes": []int{1, 2}, "stdoutBytes": len(stdout), "later": map[string]any{"nested": []string{"]}", `\"`}},
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
		"empty": nil, "text": []byte("one\ntwo\t\x00\x1b\u2028\"\\/ <&> 你好 😀"), "every byte": all,
		"a genuine U+FFFD": []byte("before \ufffd after"), "a genuine one, then no text": []byte("a\ufffdb\xffc"),
		"a torn character": []byte("你好\xe4\xbd"), "long text": []byte(strings.Repeat("你好世界\n", 40_000)),
		"long, and no text at its end": append([]byte(strings.Repeat("é", 70_000)), 0xff),
		"long, and no text":            bytes.Repeat([]byte{0xff, 0xfe}, 50_000),
	}
}

func TestOutputIsRestoredByteForByte(t *testing.T) {
	for name, want := range outputs() {
		for how, reader := range map[string]io.Reader{
			"whole": bytes.NewReader(answerWith(want, []byte("e\xff"))), "in single bytes": iotest.OneByteReader(bytes.NewReader(answerWith(want, []byte("e\xff")))),
		} {
			var stdout, stderr bytes.Buffer
			job, err := readAnswer(reader, &stdout, &stderr)
			if err != nil || !bytes.Equal(stdout.Bytes(), want) || stderr.String() != "e\xff" {
				t.Errorf("%s, %s: %v, %d bytes of %d: %.80q, stderr %q", name, how, err, stdout.Len(), len(want), stdout.String(), stderr.String())
			}
			if job.Message != "said\n" || job.JobID != `a"\\` || job.ExitCode == nil || *job.ExitCode != 3 || job.Signal != nil || len(job.Processes) != 2 {
				t.Errorf("%s, %s: %+v", name, how, job)
			}
		}
	}
}

// U+FFFD may be written as it is rather than as an escape, and then lie across a border of pieces.
func TestBytesThatAreNoTextAreRestoredAtEveryBorder(t *testing.T) {
	for pad := pieceSize - 4; pad < pieceSize+4; pad++ {
		want := strings.Repeat("a", pad) + "\xff" + "b"
		answer := `{"data":{"stdout":"` + strings.ToValidUTF8(want, "\ufffd") + `","stdoutBase64":"` + base64.StdEncoding.EncodeToString([]byte(want)) + `"}}`
		var stdout bytes.Buffer
		if _, err := readAnswer(strings.NewReader(answer), &stdout, io.Discard); err != nil || stdout.String() != want {
			t.Errorf("behind %d bytes: %v, ends with %q", pad, err, stdout.String()[pad-1:])
		}
	}
}

// Escapes that Go's encoder does not use, and others may.
func TestEveryEscapeOfJSONIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`\u0041\/\b\f\u00e9\uD83D\uDE00`: "A/\b\fé😀", `\ud83d`: "\ufffd", `\ud83dx`: "\ufffdx", `\ud83d\u0041`: "\ufffdA",
	} {
		var stdout bytes.Buffer
		if _, err := readAnswer(strings.NewReader(`{"data" : {"stdout": "`+text+`"} }`), &stdout, io.Discard); err != nil || stdout.String() != want {
			t.Errorf("%s: got %q, %v", text, stdout.String(), err)
		}
	}
}

func TestAnAnswerThatIsCutOffIsNoAnswer(t *testing.T) {
	whole := answerWith([]byte("a\xffb"), []byte("c"))
	for n := range whole {
		if _, err := readAnswer(bytes.NewReader(whole[:n]), io.Discard, io.Discard); !errors.Is(err, errAnswer) {
			t.Fatalf("after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for _, text := range []string{`{"data":{"stdout":"\x"}}`, `{"data":{"stdout":5}}`, `{"data":{"stdoutBase64":"AAA"}}`, `{"data":{"stdoutBase64":"????"}}`, `[]`, `{"data":{"exitCode":"x"}}`, `{"a" 1}`, `{"a":1 "b":2}`} {
		if _, err := readAnswer(strings.NewReader(text), io.Discard, io.Discard); !errors.Is(err, errAnswer) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A job may have as many processes as a host, and its listing has them all.
func TestTheProcessesOfALargeJobAreRead(t *testing.T) {
	ids := func(n int) string { return `{"data":{"processes":[` + strings.Repeat("1234567,", n-1) + `1234567]}}` }
	job, err := readAnswer(strings.NewReader(ids(100_000)), io.Discard, io.Discard)
	if err != nil || len(job.Processes) != 100_000 {
		t.Errorf("%v, %d processes", err, len(job.Processes))
	}
	_, err = readAnswer(strings.NewReader(ids(longestRaw/8+2)), io.Discard, io.Discard)
	if !errors.Is(err, errAnswer) || !strings.Contains(err.Error(), "a value has more than 4194304 bytes") {
		t.Errorf("beyond the bound: %v", err)
	}
}

func TestOutputIsNotHeld(t *testing.T) {
	const much = 60_000_000
	text := io.MultiReader(strings.NewReader(`{"data":{"stdout":"`), io.LimitReader(new(characters), much), strings.NewReader(`"}}`))
	var largest, total int
	count := writerFunc(func(p []byte) (int, error) { largest, total = max(largest, len(p)), total+len(p); return len(p), nil })
	if _, err := readAnswer(text, count, io.Discard); err != nil || total != much || largest > 2*pieceSize {
		t.Errorf("%v: %d bytes in pieces of up to %d", err, total, largest)
	}
}

// characters are of three bytes each, so that they lie across every border of pieces.
type characters struct{ at int }

func (c *characters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "你"[c.at%3]
		c.at++
	}
	return len(p), nil
}

// The follower of a job drops the output in its result, of which nothing may be held either.
func TestDroppedOutputIsNotHeld(t *testing.T) {
	text := io.MultiReader(strings.NewReader(`{"data":{"stdout":"\ufffd`), io.LimitReader(new(characters), 60_000_000), strings.NewReader(`","stdoutBase64":"AAAA"}}`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readAnswer(text, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 10<<20 {
		t.Errorf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// FuzzText compares with the library, for everything that is the inside of a JSON string.
func FuzzText(f *testing.F) {
	for _, seed := range []string{`a\n\u00e9`, `\ud83d\ude00`, `\ud83d\ud83d\ude00`, `\ude00\ud83dx`, `\ud83d\uzzzz`, "你\ufffd好", `\"\\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, inside string) {
		var want string
		if !utf8.ValidString(inside) || json.Unmarshal([]byte(`"`+inside+`"`), &want) != nil {
			return
		}
		var stdout bytes.Buffer
		_, err := readAnswer(iotest.HalfReader(strings.NewReader(`{"data":{"stdout":"`+inside+`"}}`)), &stdout, io.Discard)
		if err != nil || stdout.String() != want {
			t.Errorf("%q: got %q, %v, the library %q", inside, stdout.String(), err, want)
		}
	})
}

// FuzzReadAnswer: no answer makes the program panic, hang, or write what cannot be.
func FuzzReadAnswer(f *testing.F) {
	for _, output := range outputs() {
		if len(output) < 1000 {
			f.Add(answerWith(output, output))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		var stdout bytes.Buffer
		if _, err := readAnswer(bytes.NewReader(answer), &stdout, io.Discard); err == nil && stdout.Len() > 3*len(answer) {
			t.Errorf("%q gives %d bytes", answer, stdout.Len())
		}
	})
}
