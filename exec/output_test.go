package exec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"
)

func TestShellIdiomsThatReopenAStreamLoseNothing(t *testing.T) {
	for name, c := range map[string]struct{ text, out, err string }{
		"tee":       {"echo 1; echo 2 | tee /dev/stderr; echo 3 >&2; echo 4", "1\n2\n4\n", "2\n3\n"},
		"truncate":  {"echo 1; echo 2 > /dev/stdout; echo 3", "1\n2\n3\n", ""},
		"stderr":    {"echo 1 >&2; echo 2 > /dev/stderr; echo 3 >&2", "", "1\n2\n3\n"},
		"append":    {"echo 1; echo 2 >> /dev/stdout; echo 3 >> /dev/fd/1", "1\n2\n3\n", ""},
		"proc":      {"echo 1; echo 2 > /proc/self/fd/1; echo 3", "1\n2\n3\n", ""},
		"exchanged": {"{ echo 1; echo 2 >&2; } 3>&1 1>&2 2>&3", "2\n", "1\n"},
	} {
		result := run(t, command(c.text))
		if out, err := text(&result.Stdout), text(&result.Stderr); out != c.out || err != c.err {
			t.Errorf("%s: got %q and %q", name, out, err)
		}
	}
}

func TestMuchOnStderrBeforeStdoutDoesNotBlock(t *testing.T) {
	result := run(t, command("head -c 200000 /dev/zero >&2; echo out"))
	if result.Stderr.Kept() != 200000 || text(&result.Stdout) != "out\n" {
		t.Fatalf("got %d bytes and %q", result.Stderr.Kept(), text(&result.Stdout))
	}
}

func TestBytesAreKeptAsTheyAre(t *testing.T) {
	for _, want := range []string{"last line", "", "\n", "a\r\n\x00\xff\xfe\xc3(\x80b"} {
		c := command(`printf "$A"`)
		var octal strings.Builder
		for _, b := range []byte(want) {
			fmt.Fprintf(&octal, `\%03o`, b)
		}
		c.Env = []string{"A=" + octal.String()}
		if got := text(&run(t, c).Stdout); got != want {
			t.Errorf("got %q instead of %q", got, want)
		}
	}
}

// numbers is what seq prints: any byte lost or moved shows.
func numbers(last int) string {
	var b strings.Builder
	for i := 1; i <= last; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestHeadIsKeptUpToTheLimitAndAllIsCounted(t *testing.T) {
	all := numbers(300000) // about 2 MB, more than a pipe and several chunks
	for _, limit := range []int64{0, 1, 10, 65535, 65536, 65537, 262144, 300000, 1 << 20, int64(len(all)) - 1, int64(len(all)), 1 << 30} {
		c := command("seq 300000; seq 300000 >&2")
		c.MaxOutput = limit
		result := run(t, c)
		for _, o := range []*Output{&result.Stdout, &result.Stderr} {
			kept := min(limit, int64(len(all)))
			if text(o) != all[:kept] || o.Kept() != kept || o.Total() != int64(len(all)) || o.Truncated() != (kept < int64(len(all))) {
				t.Errorf("limit %d: kept %d of %d, truncated %v", limit, o.Kept(), o.Total(), o.Truncated())
			}
		}
	}
}

func TestOutputInSmallPiecesIsComplete(t *testing.T) {
	result := run(t, command("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"))
	if text(&result.Stdout) != numbers(20000) {
		t.Fatalf("got %d bytes", result.Stdout.Kept())
	}
}

func TestOutputBeyondTheLimitTakesNoMemory(t *testing.T) {
	var stdout, stderr, keptOut, keptErr, kib int64
	got := asHelper(t, 0, "flood")
	if _, err := fmt.Sscan(got, &stdout, &stderr, &keptOut, &keptErr, &kib); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if stdout != 400000000 || stderr != 100000000 || keptOut != 1<<20 || keptErr != 1<<20 {
		t.Errorf("counted %d and %d, kept %d and %d", stdout, stderr, keptOut, keptErr)
	}
	if kib > 64<<10 {
		t.Errorf("500 MB of output took %d KiB", kib)
	}
}

func TestSmallOutputsTakeLittleMemory(t *testing.T) {
	r := newTestRunner(t)
	result := finish(t, start(t, r, command("echo hi; head -c 600000 /dev/zero >&2")))
	held := func(o *Output) (bytes int) {
		for _, kept := range o.chunks {
			bytes += cap(kept)
		}
		return bytes
	}
	if got := held(&result.Stdout); got > 64 {
		t.Errorf("3 bytes hold %d", got)
	}
	if got := held(&result.Stderr); got > 600000+chunkSize {
		t.Errorf("600000 bytes hold %d", got)
	}
}

func TestDroppingWithoutSpliceCountsTheSame(t *testing.T) {
	r := newTestRunner(t)
	// What is open for reading takes no splice, so this way is gone.
	r.own.null = r.own.stdin
	c := command("seq 300000")
	c.MaxOutput = 10
	result := finish(t, start(t, r, c))
	if want := int64(len(numbers(300000))); result.Stdout.Total() != want {
		t.Fatalf("counted %d of %d", result.Stdout.Total(), want)
	}
}

func TestOutputCanBeReadWhileTheCommandRuns(t *testing.T) {
	p := start(t, newTestRunner(t), command("echo one; sleep 0.3; echo two; sleep 0.3; seq 300000"))
	var all []byte
	part := make([]byte, 1000)
	for over := false; ; {
		n, err := p.Stdout().ReadAt(part, int64(len(all)))
		all = append(all, part[:n]...)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if over && n == 0 {
			break
		}
		if n == 0 {
			time.Sleep(time.Millisecond)
			select {
			case <-p.Done():
				over = true
			default:
			}
		}
	}
	if want := "one\ntwo\n" + numbers(300000); string(all) != want {
		t.Fatalf("got %d of %d bytes", len(all), len(want))
	}
}

func TestReadAtAnyOffset(t *testing.T) {
	all := numbers(100000)
	result := run(t, command("seq 100000"))
	for _, offset := range []int{0, 1, 65535, 65536, 65537, 327679, 327680, len(all) - 1} {
		part := make([]byte, 300000)
		n, err := result.Stdout.ReadAt(part, int64(offset))
		want := all[offset:min(len(all), offset+len(part))]
		if string(part[:n]) != want || (err == io.EOF) != (n < len(part)) {
			t.Errorf("at %d: %d bytes, %v", offset, n, err)
		}
	}
	if n, err := result.Stdout.ReadAt(make([]byte, 1), int64(len(all))+5); n != 0 || err != io.EOF {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
	if _, err := result.Stdout.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset is no error")
	}
}

func TestReleasedOutputIsAnErrorAndNeverAnothersBytes(t *testing.T) {
	r := newTestRunner(t)
	first := finish(t, start(t, r, command("yes secret | head -c 2000000")))
	first.Stdout.Release()
	first.Stdout.Release()
	if n, err := first.Stdout.WriteTo(io.Discard); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	second := finish(t, start(t, r, command("yes public | head -c 700000")))
	if strings.Contains(text(&second.Stdout), "secret") || second.Stdout.Kept() != 700000 {
		t.Fatal("output crossed between commands")
	}
	if first.Stdout.Total() != 2000000 {
		t.Fatal("the count is gone")
	}
}

func TestReleaseBeforeTheResultDoesNothing(t *testing.T) {
	p := start(t, newTestRunner(t), command("seq 100000; sleep 0.2; seq 100000"))
	eventually(t, "output", func() bool { return p.Stdout().Kept() > 500000 })
	p.Stdout().Release()
	finish(t, p)
	if text(p.Stdout()) != numbers(100000)+numbers(100000) {
		t.Fatal("output is lost")
	}
}

func TestWriterThatFailsStopsTheCopy(t *testing.T) {
	result := run(t, command("seq 100000"))
	reader, writer := io.Pipe()
	reader.Close()
	if _, err := result.Stdout.WriteTo(writer); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("got %v", err)
	}
	for range result.Stdout.Chunks() {
		break
	}
	var b bytes.Buffer
	for kept := range result.Stdout.Chunks() {
		b.Write(kept)
	}
	if b.String() != numbers(100000) {
		t.Fatal("chunks are not the whole output")
	}
}
