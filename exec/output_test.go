package exec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestOutput_ReopenedStreams(t *testing.T) {
	for name, c := range map[string]struct{ text, out, err string }{
		"tee": {
			"echo 1; echo 2 | tee /dev/stderr; echo 3 >&2; echo 4",
			"1\n2\n4\n", "2\n3\n",
		},
		"truncate":  {"echo 1; echo 2 > /dev/stdout; echo 3", "1\n2\n3\n", ""},
		"stderr":    {"echo 1 >&2; echo 2 > /dev/stderr; echo 3 >&2", "", "1\n2\n3\n"},
		"append":    {"echo 1; echo 2 >> /dev/stdout; echo 3 >> /dev/fd/1", "1\n2\n3\n", ""},
		"proc":      {"echo 1; echo 2 > /proc/self/fd/1; echo 3", "1\n2\n3\n", ""},
		"exchanged": {"{ echo 1; echo 2 >&2; } 3>&1 1>&2 2>&3", "2\n", "1\n"},
	} {
		result := run(t, command(c.text))
		if out, err := text(&result.Stdout), text(&result.Stderr); out != c.out || err != c.err {
			t.Errorf("%s: got %q and %q, want %q and %q", name, out, err, c.out, c.err)
		}
	}
}

func TestOutput_StderrFirst(t *testing.T) {
	result := run(t, command("head -c 200000 /dev/zero >&2; echo out"))
	if result.Stderr.Kept() != 200000 || text(&result.Stdout) != "out\n" {
		t.Fatalf("got %d bytes and %q, want 200000 and \"out\\n\"",
			result.Stderr.Kept(), text(&result.Stdout))
	}
}

func TestOutput_AnyBytes(t *testing.T) {
	for _, want := range []string{"last line", "", "\n", "a\r\n\x00\xff\xfe\xc3(\x80b"} {
		c := command(`printf "$A"`)
		var octal strings.Builder
		for _, b := range []byte(want) {
			fmt.Fprintf(&octal, `\%03o`, b)
		}
		c.Env = []string{"A=" + octal.String()}
		if got := text(&run(t, c).Stdout); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOutput_Limit(t *testing.T) {
	all := numbers(300000) // about 2 MB, more than a pipe and several chunks
	for _, limit := range []int64{
		0, 1, 10, 65535, 65536, 65537, 262144, 300000, 1 << 20,
		int64(len(all)) - 1, int64(len(all)), 1 << 30,
	} {
		c := command("seq 300000; seq 300000 >&2")
		c.MaxOutput = limit
		result := run(t, c)
		for _, o := range []*Output{&result.Stdout, &result.Stderr} {
			kept := min(limit, int64(len(all)))
			if text(o) != all[:kept] || o.Kept() != kept || o.Total() != int64(len(all)) {
				t.Errorf("limit %d: kept %d of %d bytes, want %d of %d",
					limit, o.Kept(), o.Total(), kept, len(all))
			}
			if want := kept < int64(len(all)); o.Truncated() != want {
				t.Errorf("limit %d: truncated %v, want %v", limit, o.Truncated(), want)
			}
		}
	}
}

func TestOutput_SmallPieces(t *testing.T) {
	result := run(t, command("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"))
	if text(&result.Stdout) != numbers(20000) {
		t.Fatalf("got %d bytes, want %d", result.Stdout.Kept(), len(numbers(20000)))
	}
}

func TestOutput_MemoryBeyondTheLimit(t *testing.T) {
	var stdout, stderr, keptOut, keptErr, kib int64
	got := asHelper(t, 0, "flood")
	if _, err := fmt.Sscan(got, &stdout, &stderr, &keptOut, &keptErr, &kib); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if stdout != 200000000 || stderr != 50000000 || keptOut != 1<<20 || keptErr != 1<<20 {
		t.Errorf("got %d and %d bytes, %d and %d kept; want 200000000 and 50000000, 1 MiB of each",
			stdout, stderr, keptOut, keptErr)
	}
	if kib > 64<<10 {
		t.Errorf("250 MB of output took %d KiB, want at most 64 MiB", kib)
	}
}

func TestOutput_MemoryOfSmallOutput(t *testing.T) {
	r := newTestRunner(t)
	result := finish(t, start(t, r, command("echo hi; head -c 600000 /dev/zero >&2")))
	held := func(o *Output) (bytes int) {
		for _, kept := range o.chunks {
			bytes += cap(kept)
		}
		return bytes
	}
	if got := held(&result.Stdout); got > 64 {
		t.Errorf("memory of 3 bytes: got %d, want at most 64", got)
	}
	if got := held(&result.Stderr); got > 600000+chunkSize {
		t.Errorf("memory of 600000 bytes: got %d, want at most one chunk more", got)
	}
}

func TestOutput_ReadWhileRunning(t *testing.T) {
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

func TestOutput_ReadAt(t *testing.T) {
	all := numbers(100000)
	result := run(t, command("seq 100000"))
	for _, offset := range []int{0, 1, 65535, 65536, 65537, 327679, 327680, len(all) - 1} {
		part := make([]byte, 300000)
		n, err := result.Stdout.ReadAt(part, int64(offset))
		want := all[offset:min(len(all), offset+len(part))]
		if string(part[:n]) != want || (err == io.EOF) != (n < len(part)) {
			t.Errorf("at %d: got %d bytes, %v; want %d", offset, n, err, len(want))
		}
	}
	if n, err := result.Stdout.ReadAt(make([]byte, 1), int64(len(all))+5); n != 0 || err != io.EOF {
		t.Errorf("beyond the end: got %d, %v; want 0, EOF", n, err)
	}
	if _, err := result.Stdout.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset is no error")
	}
}

func TestOutput_Released(t *testing.T) {
	r := newTestRunner(t)
	first := finish(t, start(t, r, command("yes secret | head -c 2000000")))
	first.Stdout.Release()
	first.Stdout.Release()
	if n, err := first.Stdout.Parts().Start.WriteTo(io.Discard); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("got %d bytes, %v; want 0, %v", n, err, fs.ErrClosed)
	}
	second := finish(t, start(t, r, command("yes public | head -c 700000")))
	if strings.Contains(text(&second.Stdout), "secret") || second.Stdout.Kept() != 700000 {
		t.Fatal("output crossed between commands")
	}
	if first.Stdout.Total() != 2000000 {
		t.Fatal("the count is gone")
	}
}

func TestOutput_ReleaseBeforeResult(t *testing.T) {
	p := start(t, newTestRunner(t), command("seq 100000; sleep 0.2; seq 100000"))
	testkit.Eventually(t, "output", func() bool { return p.Stdout().Kept() > 500000 })
	p.Stdout().Release()
	finish(t, p)
	if text(p.Stdout()) != numbers(100000)+numbers(100000) {
		t.Fatal("output is lost")
	}
}

func TestOutput_FailedWriter(t *testing.T) {
	result := run(t, command("seq 100000"))
	reader, writer := io.Pipe()
	reader.Close()
	if _, err := result.Stdout.Parts().Start.WriteTo(writer); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("got %v, want %v", err, io.ErrClosedPipe)
	}
	if text(&result.Stdout) != numbers(100000) {
		t.Fatal("after a failed writer the output is not whole")
	}
}

// What is read after the result was given without it goes to no other command.
func TestOutput_AbandonedChunks(t *testing.T) {
	pool := newBufferPool()
	o := &Output{limit: 1 << 20, buffers: pool}
	for o.kept < scratchSize {
		room := o.borrow(pipeSize)
		o.commit(room, len(room.space))
	}
	room := o.borrow(pipeSize)
	o.commit(room, 10)
	pending := o.borrow(pipeSize) // the rest of the same chunk, for a read that does not return
	o.abandon()
	o.Release()
	for range 10 {
		if chunk := pool.chunk(); &chunk[10] == &pending.space[0] {
			t.Fatal("a chunk that a read may still write into was lent again")
		}
	}
}
