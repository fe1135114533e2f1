package system

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// Case 18, far above the bound: the command continues, and the result says that its output was
// truncated.
func TestOutput_QuarterGigabyte(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 4096")
	const much = 256 << 20
	a := d.run("head -c 268435456 /dev/zero | tr '\\0' a && echo end >&2")
	data := a.Data
	if len(data.Stdout) != 2048 || data.StdoutTail != data.Stdout || data.StdoutBytes != much || !data.StdoutTruncated || data.StderrTruncated || data.Stderr != "end\n" {
		t.Errorf("%d bytes kept, of %d, cut %v, stderr %q", len(data.Stdout), data.StdoutBytes, data.StdoutTruncated, data.Stderr)
	}
	if !strings.Contains(a.Message, "268435456") || !strings.Contains(a.Message, "MAX_OUTPUT") {
		t.Errorf("the message does not say it: %q", a.Message)
	}
	d.awaitLog("stdout was cut")
	d.wantPeaks(64, 48)
}

// Case 18, at the default bound.
func TestOutput_DefaultBound(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	a := d.run("head -c 100000000 /dev/zero | tr '\\0' o; head -c 100000000 /dev/zero | tr '\\0' e >&2")
	start, end := strings.Repeat("o", 8<<20-64<<10), strings.Repeat("o", 64<<10)
	if a.Data.Stdout != start || a.Data.StdoutTail != end || a.Data.Stderr != strings.ReplaceAll(start, "o", "e") || a.Data.StderrTail != strings.ReplaceAll(end, "o", "e") {
		t.Errorf("kept %d and %d bytes", len(a.Data.Stdout), len(a.Data.Stderr))
	}
	if a.Data.StdoutBytes != 100_000_000 || a.Data.StderrBytes != 100_000_000 {
		t.Errorf("counted %d and %d bytes", a.Data.StdoutBytes, a.Data.StderrBytes)
	}
	d.wantPeaks(96, 48)
	if exact := d.run("head -c 8388608 /dev/zero | tr '\\0' x"); exact.Data.StdoutTruncated || exact.Message != "" || len(exact.Data.Stdout) != 8<<20 {
		t.Errorf("exactly the bound: cut %v, %q", exact.Data.StdoutTruncated, exact.Message)
	}
}

// Case 18, bytes that are not UTF-8.
func TestOutput_NotUTF8(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	a := d.run(`i=0; while [ $i -lt 256 ]; do printf "\\$(printf %o $i)"; i=$((i+1)); done; printf 'err\377' >&2`)
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	if got := decodeBase64(t, a.Data.StdoutBase64); !bytes.Equal(got, all) {
		t.Errorf("got %x", got)
	}
	if got := decodeBase64(t, a.Data.StderrBase64); string(got) != "err\xff" {
		t.Errorf("stderr: got %x", got)
	}
	if !strings.HasPrefix(a.Data.Stderr, "err\ufffd") || !utf8.ValidString(a.body) {
		t.Errorf("the text forms: %q", a.Data.Stderr)
	}
	much := d.run("head -c 3000000 /dev/zero | tr '\\0' '\\377'; printf text >&2")
	if got := decodeBase64(t, much.Data.StdoutBase64); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 3_000_000)) || much.Data.StderrBase64 != "" {
		t.Errorf("3 MB: got %d bytes", len(got))
	}
}

// Characters of several bytes lie across every border of chunks, and are not split.
func TestOutput_UTF8IsNotSplit(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 1000001")
	for _, pad := range []string{"", "a", "ab"} {
		a := d.run("printf '" + pad + "'; yes 你好世界 | head -n 70000")
		want := pad + strings.Repeat("你好世界\n", 70000)
		if a.Data.Stdout != want || a.Data.StdoutBase64 != "" {
			t.Errorf("pad %q: %d bytes of %d, base64 %d", pad, len(a.Data.Stdout), len(want), len(a.Data.StdoutBase64))
		}
	}
	cut := d.run("yes 你好世界 | head -n 100000")
	all := strings.Repeat("你好世界\n", 100000)
	if !cut.Data.StdoutTruncated || !strings.HasPrefix(all, cut.Data.Stdout) || !strings.HasSuffix(all, cut.Data.StdoutTail) || cut.Data.StdoutBase64 != "" ||
		len(cut.Data.Stdout) < 1000001-64<<10-3 || len(cut.Data.StdoutTail) < 64<<10-3 {
		t.Errorf("cut within a character: %d bytes, base64 %d", len(cut.Data.Stdout), len(cut.Data.StdoutBase64))
	}
}

// Idioms that work with pipes, and would lose output with files.
func TestOutput_ReopenedStandardStreams(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("echo one; echo two | tee /dev/stderr; echo three > /dev/stdout; echo four >> /dev/fd/1; echo err > /dev/stderr")
	if a.Data.Stdout != "one\ntwo\nthree\nfour\n" || a.Data.Stderr != "two\nerr\n" {
		t.Errorf("got %q and %q", a.Data.Stdout, a.Data.Stderr)
	}
}
