package exec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/test/testkit"
)

// maskedWhole masks a text that is there as a whole, in the plainest way.
func maskedWhole(text string, values []string) string {
	masked := make([]int, len(text)) // by byte: the region that it is in; 0: none
	regions, end := 0, 0             // end: where the latest region ends
	for at := range len(text) {
		for _, value := range values {
			if !strings.HasPrefix(text[at:], value) {
				continue
			}
			if at >= end {
				regions++
			}
			end = max(end, at+len(value))
			for i := at; i < end; i++ {
				masked[i] = regions
			}
		}
	}
	var b strings.Builder
	for i, region := range masked {
		switch {
		case region == 0:
			b.WriteByte(text[i])
		case i == 0 || masked[i-1] != region:
			b.WriteString(Mask)
		}
	}
	return b.String()
}

// maskedInPieces masks a text in pieces. Between them it sometimes goes through a reload.
func maskedInPieces(t *testing.T, r *rand.Rand, text string, values []string) string {
	t.Helper()
	m := newMasker(newSecrets(values))
	var out []byte
	for len(text) > 0 {
		n := 1 + r.IntN(min(len(text), 1+r.IntN(40)))
		out = m.mask(out, []byte(text[:n]))
		text = text[n:]
		if len(m.held()) >= m.secrets.longest {
			t.Fatalf("%d bytes are held back, of values of at most %d", len(m.held()), m.secrets.longest)
		}
		if r.IntN(10) == 0 {
			m = reloadedMasker(t, m)
		}
	}
	return string(m.flush(out))
}

func reloadedMasker(t *testing.T, m *masker) *masker {
	t.Helper()
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	s := m.state(w)
	file, err := w.Finish(s)
	if err != nil {
		t.Fatal(err)
	}
	in, err := handover.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := restoreMasker(in, s, m.secrets)
	if err != nil {
		t.Fatalf("restore %q, %d covered, of %q: %v", m.held(), s.Covered, m.secrets.values, err)
	}
	return restored
}

func randomText(r *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

// Whatever the values, the text, its pieces and reloads between them: the same is masked as in the
// whole text.
func TestMask_AnyPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		alphabet := []string{"ab", "abc", "aab", "abcdefgh\n"}[r.IntN(4)]
		var values []string
		for range 1 + r.IntN(4) {
			values = append(values, randomText(r, alphabet, 1+r.IntN(9)))
		}
		text := randomText(r, alphabet, r.IntN(300))
		for range r.IntN(5) {
			at := r.IntN(len(text) + 1)
			text = text[:at] + values[r.IntN(len(values))] + text[at:]
		}
		want := maskedWhole(text, values)
		if got := maskedInPieces(t, r, text, values); got != want {
			t.Fatalf("%q of %q: got %q, want %q", values, text, got, want)
		}
	}
}

func TestMask_Examples(t *testing.T) {
	for _, c := range []struct {
		text, want string
		values     []string
	}{
		{"a secret!", "a ***!", []string{"secret"}},
		{"secretsecret", "******", []string{"secret"}},
		{"secre", "secre", []string{"secret"}},
		{"secsecret", "sec***", []string{"secret"}},
		{"abcdefgh", "***", []string{"abcde", "defgh"}},           // they overlap
		{"abcdefgh", "***gh", []string{"cd", "abcdef"}},           // one is in the other
		{"abcdeX", "***eX", []string{"abcd", "abcdef"}},           // the longer one does not come
		{"xxaaaaaxx", "xx***xx", []string{"aaa"}},                 // it overlaps itself
		{"line\nbreak", "***", []string{"line\nbreak"}},           // over lines
		{"\x00\xff\xfe", "\x00***", []string{"\xff\xfe"}},         // no text
		{"ababababc", "abab***", []string{"ababc"}},               // it begins in itself
		{"nothing here", "nothing here", []string{"SECRET", "x"}}, // none
	} {
		if got := maskedWhole(c.text, c.values); got != c.want {
			t.Errorf("the test's own: %q: got %q, want %q", c.text, got, c.want)
		}
		for n := range len(c.text) + 1 {
			m := newMasker(newSecrets(c.values))
			out := m.mask(m.mask(nil, []byte(c.text[:n])), []byte(c.text[n:]))
			if got := string(m.flush(out)); got != c.want {
				t.Errorf("%q and %q: got %q, want %q", c.text[:n], c.text[n:], got, c.want)
			}
		}
	}
}

// Each byte takes a bounded time, also where all of a long value matches again and again.
func TestMask_HostileValues(t *testing.T) {
	var values []string
	for i := range MaxSecrets {
		values = append(values, strings.Repeat("a", MaxSecret-1-i)+"b")
	}
	m := newMasker(newSecrets(values))
	var out []byte
	piece := bytes.Repeat([]byte("a"), 64<<10)
	for range 16 {
		out = m.mask(out[:0], piece)
		if len(m.buffer) > 2*MaxSecret || len(m.masked) > MaxSecret {
			t.Fatalf("%d bytes and %d regions are held", len(m.buffer), len(m.masked))
		}
	}
	if got := string(m.mask(nil, []byte("b"))); got != Mask {
		t.Errorf("got %q, want %q", got, Mask)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("secret\nother", "a secret and an othersecret", uint64(1))
	f.Add("aa\naab\nb", "aaabaabab", uint64(2))
	f.Fuzz(func(t *testing.T, lines, text string, seed uint64) {
		var values []string
		for value := range strings.SplitSeq(lines, "\n") {
			if len(value) > 0 && len(value) <= MaxSecret && len(values) < MaxSecrets {
				values = append(values, value)
			}
		}
		if len(values) == 0 {
			return
		}
		want := maskedWhole(text, values)
		if got := maskedInPieces(t, rand.New(rand.NewPCG(seed, 0)), text, values); got != want {
			t.Fatalf("%q of %q: got %q, want %q", values, text, got, want)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog 0123456789\n"), 1000)
	for _, n := range []int{1, MaxSecrets} {
		var values []string
		for i := range n {
			values = append(values, fmt.Sprintf("%c-secret-value-%d", 'A'+i, i))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMasker(newSecrets(values))
			var out []byte
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				out = m.mask(out[:0], text)
			}
		})
	}
}

// secretly is a command that has a value in its environment, which is masked.
func secretly(text string, values ...string) Command {
	c := command(text)
	for i, value := range values {
		c.Env = append(c.Env, fmt.Sprintf("SECRET%d=%s", i, value))
	}
	c.Secrets = values
	return c
}

func TestMask_OfCommand(t *testing.T) {
	const value = "canary-0123456789"
	for name, c := range map[string]struct{ text, stdout, stderr string }{
		"both streams":   {`echo "a $SECRET0 b"; echo "$SECRET0" >&2`, "a *** b\n", "***\n"},
		"split":          {`printf canary-; sleep 0.1; printf 01234; sleep 0.1; printf 56789; echo .`, "***.\n", ""},
		"begins only":    {`printf canary-01234`, "canary-01234", ""},
		"no line break":  {`printf %s "$SECRET0"`, "***", ""},
		"two values":     {`echo "$SECRET0$SECRET1 $SECRET1"`, "****** ***\n", ""},
		"nothing":        {`true`, "", ""},
		"not of the env": {`echo canary-"0123456789"`, "***\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			result := run(t, secretly(c.text, value, "other\nvalue"))
			if text(&result.Stdout) != c.stdout || text(&result.Stderr) != c.stderr || !result.Masked {
				t.Errorf("got %q, %q, masked %t; want %q, %q, true", text(&result.Stdout),
					text(&result.Stderr), result.Masked, c.stdout, c.stderr)
			}
			if total := result.Stdout.Total(); total != int64(len(c.stdout)) {
				t.Errorf("got %d bytes, want those after masking, %d", total, len(c.stdout))
			}
			if result.Stdout.mask.Load() != nil {
				t.Error("the secrets are kept after the end")
			}
		})
	}
	if result := run(t, command("echo "+value)); text(&result.Stdout) != value+"\n" || result.Masked {
		t.Errorf("without secrets: got %q, masked %t", text(&result.Stdout), result.Masked)
	}
}

// Of a large output nothing gets past the mask: where chunks meet, at the limit, and behind it.
func TestMask_LargeOutput(t *testing.T) {
	const value, count = "canary-0123456789", 60000
	var whole strings.Builder
	for i := range count {
		fmt.Fprintf(&whole, "%d %s", i, Mask)
	}
	want := whole.String()
	for _, limit := range []int64{0, 1, 2, 100, 64 << 10, 512 << 10, 8 << 20} {
		c := secretly(fmt.Sprintf(`awk 'BEGIN { for (i = 0; i < %d; i++) printf "%%d %%s", i, ENVIRON["SECRET0"] }'`, count), value)
		c.MaxOutput = limit
		result := run(t, c)
		if got := text(&result.Stdout); got != want[:min(limit, int64(len(want)))] {
			t.Errorf("limit %d: got %d bytes that are not the masked ones", limit, len(got))
		}
		if result.Stdout.Total() != int64(len(want)) || result.Stdout.Truncated() != (limit < int64(len(want))) {
			t.Errorf("limit %d: got %d bytes in total, truncated %t", limit, result.Stdout.Total(),
				result.Stdout.Truncated())
		}
	}
	if len(want) <= 512<<10 {
		t.Errorf("the output has %d bytes, which no limit but the small ones cuts", len(want))
	}
}

// What is held back can be read when it is certain that no value comes, and at the end.
func TestMask_WhileTheCommandRuns(t *testing.T) {
	file := tempDir(t) + "/go-on"
	c := secretly("printf 'up canary-'; until test -e "+file+"; do sleep 0.01; done; printf 01; sleep 60",
		"canary-0123456789")
	p := start(t, newTestRunner(t), c)
	awaitOutput(t, p)
	if got := text(p.Stdout()); got != "up " {
		t.Errorf("got %q, want what no value begins with", got)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.End(Cancelled)
	finish(t, p)
	if got := text(p.Stdout()); !strings.HasPrefix(got, "up canary-") {
		t.Errorf("at the end: got %q, want what was held back", got)
	}
}

// A background process goes on writing while the output is completed.
func TestMask_OutputOfBackgroundProcess(t *testing.T) {
	c := secretly(`(while :; do printf %s "$SECRET0"; done) & sleep 0.2`, "canary-0123456789")
	result := finish(t, start(t, newTestRunner(t), c))
	if got := text(&result.Stdout); strings.Contains(got, "canary-0123456789") || !strings.HasPrefix(got, Mask) {
		t.Errorf("got %.100q, want it masked", got)
	}
}

func TestCommand_SecretsOutOfBounds(t *testing.T) {
	for _, values := range [][]string{
		{"short12"},
		{""},
		{strings.Repeat("x", MaxSecret+1)},
		strings.Split(strings.Repeat("canary-value,", MaxSecrets)+"canary-value", ","),
	} {
		c := command("true")
		c.Secrets = values
		err := c.Validate()
		if FaultOf(err) != FaultRequest || strings.Contains(err.Error(), "canary") ||
			strings.Contains(err.Error(), "short12") {
			t.Errorf("%d values: got %v, want a fault of the request without them", len(values), err)
		}
	}
}

func maskReloaded() map[string]reloadCase {
	const value = "canary-0123456789"
	c := secretly("echo up; for i in 1 2 3 4 5 6 7 8; do printf canary-; sleep 0.1; printf 0123456789; "+
		"sleep 0.1; done; echo; echo $SECRET0 >&2; printf %s canary-", value)
	late := secretly("sleep 0.3; echo "+value, value)
	late.MaxOutput = 1 << 20
	return map[string]reloadCase{
		"masked output": {
			commands: []Command{c, late},
			reloads:  6,
			before:   func(_ int, all []*Process) { awaitOutputs(all[:1]) },
			atRest:   func(int, []*Process) { time.Sleep(50 * time.Millisecond) },
			check: func(t *testing.T, got reloadReport) {
				want := "up\n" + strings.Repeat(Mask, 8) + "\ncanary-"
				if c := got.Commands[0]; c.Stdout != want || c.Stderr != Mask+"\n" ||
					c.Total != int64(len(want)) {
					t.Errorf("got %q, %q, %d bytes; want %q", c.Stdout, c.Stderr, c.Total, want)
				}
				if c := got.Commands[1]; c.Stdout != Mask+"\n" {
					t.Errorf("got %q, want it masked", c.Stdout)
				}
			},
		},
	}
}

// A release that does not know masks keeps nothing more of such an output.
func TestMask_OlderReleaseKeepsNothing(t *testing.T) {
	p := start(t, newTestRunner(t), secretly("echo up; sleep 60", "canary-0123456789"))
	awaitOutput(t, p)
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	s := p.Stdout().state(w)
	if s.Limit != int64(len("up\n")) || s.Mask == nil || s.Mask.Limit != 8<<20 {
		t.Errorf("got the limit %d, and %+v besides; want 3 and 8 MiB", s.Limit, s.Mask)
	}
	testkit.Eventually(t, "nothing is left", func() bool { p.End(Stopped); return isDone(p) })
}

// The end that is kept of a long output is masked too.
func TestMask_EndOfOutput(t *testing.T) {
	const value = "canary-0123456789"
	c := secretly(`awk 'BEGIN { for (i = 0; i < 50000; i++) printf "%d %s", i, ENVIRON["SECRET0"] }'`, value)
	c.MaxOutput, c.OutputTail = 100_000, 1000
	result := run(t, c)
	var whole strings.Builder
	for i := range 50000 {
		fmt.Fprintf(&whole, "%d %s", i, Mask)
	}
	want, got := whole.String(), make([]byte, 1000)
	if total := result.Stdout.Total(); total != int64(len(want)) {
		t.Fatalf("got %d bytes in total, want %d", total, len(want))
	}
	for _, at := range []int64{0, int64(len(want) - len(got))} {
		n, err := result.Stdout.ReadAt(got, at)
		if string(got[:n]) != want[at:at+int64(len(got))] {
			t.Errorf("at %d: got %q, %v, want %q", at, got[:n], err, want[at:at+int64(len(got))])
		}
	}
}
