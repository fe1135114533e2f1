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
		s := shortOutputOf(bytesOutput{data: []byte(text)})
		var got bytes.Buffer
		n, err := s.WriteTo(&got)
		if err != nil || n != int64(got.Len()) {
			t.Errorf("%s: got %d, %v for %d bytes", name, n, err, got.Len())
		}
		if want := int64(max(0, len(text)-2*shortPart)); s.omitted != want {
			t.Errorf("%s: got %d omitted, want %d", name, s.omitted, want)
		}
		if utf8.ValidString(text) && !utf8.Valid(got.Bytes()) {
			t.Errorf("%s: a character was cut", name)
		}
		if got.Len() > 2*shortPart+100 || s.omitted == 0 && got.String() != text {
			t.Errorf("%s: got %d bytes of %d", name, got.Len(), len(text))
		}
	}
}

// The shortened body passes where nginx permits 1 MiB, whatever the output is.
func TestShortOutput_Bound(t *testing.T) {
	worst := bytesOutput{data: bytes.Repeat([]byte{1}, 4*shortPart)}
	r, shorter := report{stdout: worst, stderr: worst}.shortened()
	var body bytes.Buffer
	if err := r.writeBody(&body); err != nil || !shorter || body.Len() >= 1<<20 {
		t.Errorf("got %d bytes, %t, %v, want fewer than 1 MiB", body.Len(), shorter, err)
	}
}
