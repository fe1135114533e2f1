package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// A receiver that answers 413 gets the start and the end, signed like any callback, also across a
// reload. Once more 413 is a refusal like others.
func TestCallback_TooLargeIsShortened(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"echo start; yes | head -c 120000; echo end; echo err >&2",` +
		`"wait":false,"jobId":"it","callbackURL":"http://h:1/f"}`)
	whole := r.receivePost()
	if whole.header(headerStdoutOmitted) != "" || whole.header(headerTruncated) != "false" {
		t.Errorf("got %q of the first attempt, want no omission", whole.call.Headers)
	}
	r.outcome(whole, message.Outcome{Status: 413})
	p := r.receivePost()
	r.reload(nil)
	r.outcome(p, message.Outcome{Status: 500})
	p = r.receivePost()
	var body struct {
		Kwargs struct{ Stdout, Stderr string }
	}
	if err := json.Unmarshal(p.body, &body); err != nil {
		t.Fatal(err)
	}
	const omitted = len("start\n") + 120000 + len("end\n") - 2*shortPart
	got := body.Kwargs.Stdout
	line := fmt.Sprintf("\n[dataflux-func-sidecar: %d bytes left out]\n", omitted)
	if !strings.HasPrefix(got, "start\ny\n") || !strings.HasSuffix(got, "y\nend\n") ||
		!strings.Contains(got, line) || len(got) != 2*shortPart+len(line) ||
		body.Kwargs.Stderr != "err\n" {
		t.Errorf("got %d bytes, %.20q … %.20q, stderr %q, want %d with %q", len(got), got,
			got[max(0, len(got)-20):], body.Kwargs.Stderr, 2*shortPart+len(line), line)
	}
	for name, want := range map[string]string{
		headerStdoutOmitted: fmt.Sprint(omitted), headerStderrOmitted: "0", headerTruncated: "true",
		"X-Sidecar-Attempt": "3",
	} {
		if p.header(name) != want {
			t.Errorf("%s: got %q, want %q", name, p.header(name), want)
		}
	}
	request := sign.Request{
		Method: "POST", Path: "/f", Body: p.body,
		Nonce: p.header("X-Auth-Nonce"), Timestamp: p.header("X-Auth-Timestamp"),
	}
	if p.header("X-Auth-Signature") != sign.Signature([]byte(testKey), request) {
		t.Error("the signature of the shortened body does not hold")
	}
	r.executor.callbacks.deliverer.maxRefuse = 0
	r.outcome(p, message.Outcome{Status: 413})
	waitFor(t, func() bool {
		return strings.Contains(r.log.String(), "given up after 0s of refusals") && r.owed() == 0
	})
}

// A small result that is too large for its receiver cannot be shortened.
func TestCallback_TooLargeAndSmall(t *testing.T) {
	r := newRig(t, nil)
	r.executor.callbacks.deliverer.maxRefuse = 0
	r.request(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/f"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 413})
	waitFor(t, func() bool {
		return strings.Contains(r.log.String(), "the receiver answered HTTP 413") && r.owed() == 0
	})
}

func TestShortOutput_Characters(t *testing.T) {
	for name, text := range map[string]string{
		"two bytes":   strings.Repeat("é", 3*shortPart/2+1),
		"three bytes": "x" + strings.Repeat("你", shortPart),
		"four bytes":  "xy" + strings.Repeat("😀", shortPart),
		"not UTF-8":   strings.Repeat("\xff", 3*shortPart),
		"no starts":   strings.Repeat("\x80", 3*shortPart),
		"exact":       strings.Repeat("z", 2*shortPart),
		"one more":    strings.Repeat("z", 2*shortPart+1),
	} {
		short, changed := shortened(textOutput(text))
		got := joinedText(t, short)
		want := int64(max(0, len(text)-2*shortPart))
		if omitted := leftOut(short); omitted != want || changed != (want > 0) {
			t.Errorf("%s: got %d omitted, %t, want %d", name, omitted, changed, want)
		}
		if utf8.ValidString(text) && strings.Contains(got, "\ufffd") {
			t.Errorf("%s: a character was cut", name)
		}
		if len(got) > 3*2*shortPart+100 || !changed && got != text {
			t.Errorf("%s: got %d bytes of %d", name, len(got), len(text))
		}
	}
}

// joinedText is the text of a stream in a callback.
func joinedText(t *testing.T, o capturedOutput) (text string) {
	t.Helper()
	var written bytes.Buffer
	w := &jsonWriter{w: &written}
	if w.joined(o); w.err != nil {
		t.Fatal(w.err)
	}
	if err := json.Unmarshal(written.Bytes(), &text); err != nil {
		t.Fatal(err)
	}
	return text
}

// Of an output whose middle is missing, the shortened one counts all bytes that are left out.
func TestShortOutput_BothEnds(t *testing.T) {
	digits := strings.Repeat("0123456789", shortPart)
	line := func(n int) string { return missingLine(int64(n)) }
	for _, c := range []struct {
		start, end       int
		shortStart, last int // of the shortened one
		changed          bool
	}{
		{3 * shortPart, 2 * shortPart, shortPart, shortPart, true},
		{shortPart, shortPart, shortPart, shortPart, false},
		{shortPart + 1, 10, shortPart, 10, true},
		{10, shortPart + 1, 10, shortPart, true},
		{2 * shortPart, 0, 2 * shortPart, 0, false},
		{2*shortPart + 1, 0, shortPart, shortPart, true},
	} {
		o := bytesOutput{
			start: []byte(digits[:c.start]), end: []byte(digits[:c.end]), missing: 1000,
			truncated: true,
		}
		short, changed := shortened(o)
		kept := digits[:c.start] + digits[:c.end]
		want := kept
		if c.last > 0 {
			missing := 1000 + c.start + c.end - c.shortStart - c.last
			if c.end == 0 {
				missing -= 1000 // they are behind the end of what is kept
			}
			want = kept[:c.shortStart] + line(missing) + kept[len(kept)-c.last:]
		}
		if got := joinedText(t, short); changed != c.changed || got != want {
			t.Errorf("%d and %d bytes: got %d bytes, %t, want %d, %t", c.start, c.end, len(got),
				changed, len(want), c.changed)
		}
	}
}

// The shortened body passes where nginx permits 1 MiB, whatever the output is.
func TestShortOutput_Bound(t *testing.T) {
	worst := textOutput(strings.Repeat("\x01", 4*shortPart))
	r, shorter := report{stdout: worst, stderr: worst}.shortened()
	var body bytes.Buffer
	if err := r.writeBody(&body); err != nil || !shorter || body.Len() >= 1<<20 {
		t.Errorf("got %d bytes, %t, %v, want fewer than 1 MiB", body.Len(), shorter, err)
	}
}
