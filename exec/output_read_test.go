package exec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/test/testkit"
)

// A limit of which nothing, a part and all is for the end, around the sizes of reads and chunks.
func TestOutput_Ends(t *testing.T) {
	all := numbers(300000) // about 2 MB
	total := int64(len(all))
	for _, c := range []struct {
		limit int64
		tail  int
	}{
		{10, 3},
		{10, 10},
		{65536, 1},
		{65537, 65536},
		{300000, 100000},
		{1 << 20, 1 << 19},
		{total - 1, 1000},
		{total, 1000},
		{total + 1, 65536},
		{1 << 30, 16 << 20},
	} {
		command := command("seq 300000; seq 300000 >&2")
		command.MaxOutput, command.OutputTail = c.limit, c.tail
		result := run(t, command)
		start, end := all, ""
		if c.limit < total {
			start, end = all[:c.limit-int64(c.tail)], all[total-int64(c.tail):]
		}
		for _, o := range []*Output{&result.Stdout, &result.Stderr} {
			p := o.Parts()
			if text(o) != start || endText(o) != end || p.StartSize != int64(len(start)) ||
				p.EndSize != int64(len(end)) || p.Missing != total-p.StartSize-p.EndSize {
				t.Errorf("limit %d, end %d: got %+v, %.20q, want %d and %d bytes", c.limit, c.tail,
					p, endText(o), len(start), len(end))
			}
			if o.Kept() != min(c.limit, total) || o.Truncated() != (c.limit < total) {
				t.Errorf("limit %d, end %d: got %d kept, truncated %t", c.limit, c.tail, o.Kept(),
					o.Truncated())
			}
		}
	}
}

// Offsets count in the stream. What is between the start and the end says so.
func TestOutput_ReadAtEnds(t *testing.T) {
	all := numbers(100000)
	total := len(all)
	c := command("seq 100000")
	c.MaxOutput, c.OutputTail = 300000, 100000
	result := run(t, c)
	for offset, want := range map[int]string{
		0: all[:200000], 199999: all[199999:200000], 200000: "", total - 100001: "",
		total - 100000: all[total-100000:], total - 1: all[total-1:], total: "", total + 5: "",
	} {
		got := make([]byte, 400000)
		n, err := result.Stdout.ReadAt(got, int64(offset))
		missing := offset+len(want) < total
		if string(got[:n]) != want || errors.Is(err, ErrNotKept) != missing ||
			(err == io.EOF) == missing {
			t.Errorf("at %d: got %d bytes, %v, want %d", offset, n, err, len(want))
		}
	}
}

// What is read while a command runs is a view of one moment, and it ends with its last bytes.
func TestOutput_PartsWhileRunning(t *testing.T) {
	c := command("seq 20000; read _ < $F; seq 300000; read _ < $G; echo end")
	c.MaxOutput, c.OutputTail = 400000, 200000
	gate, next := newFIFO(t), newFIFO(t)
	c.Env = []string{"F=" + gate, "G=" + next}
	p := start(t, newTestRunner(t), c)
	first, second := numbers(20000), numbers(20000)+numbers(300000)
	testkit.Eventually(t, "the first output", func() bool {
		return p.Stdout().Total() == int64(len(first))
	})
	if got := text(p.Stdout()); got != first {
		t.Errorf("got %d bytes, want %d", len(got), len(first))
	}
	view := p.Stdout().Parts()
	release(t, gate)
	testkit.Eventually(t, "the second output", func() bool {
		return p.Stdout().Total() == int64(len(second))
	})
	var earlier bytes.Buffer
	if _, err := view.Start.WriteTo(&earlier); err != nil || earlier.String() != first {
		t.Errorf("the earlier view: got %d bytes, %v, want %d", earlier.Len(), err, len(first))
	}
	if got := endText(p.Stdout()); got != second[len(second)-maxLiveEnd:] {
		t.Errorf("the end while it runs: got %d bytes, %.20q, want the last %d", len(got), got,
			maxLiveEnd)
	}
	release(t, next)
	finish(t, p)
	if all := second + "end\n"; endText(p.Stdout()) != all[len(all)-200000:] {
		t.Errorf("got %d bytes, want the last 200000", len(endText(p.Stdout())))
	}
}

// A pipe that holds more than the end is emptied without reading what the end would not keep. The
// test holds the pipe up so that it fills.
func TestPipe_DropBeforeTheEnd(t *testing.T) {
	c := command("seq 30000; read _ < $F; seq 300000")
	c.MaxOutput, c.OutputTail = 100000, 1000
	gate := newFIFO(t)
	c.Env = []string{"F=" + gate}
	p := start(t, newTestRunner(t), c)
	first := numbers(30000)
	testkit.Eventually(t, "the first output", func() bool {
		return p.Stdout().Total() == int64(len(first))
	})
	pipe := &p.pipes.stdout
	pipe.reading.Lock()
	release(t, gate)
	testkit.Eventually(t, "a full pipe", func() bool { return pipe.buffered() > 500000 })
	before := p.Stdout().Total()
	n, err := pipe.readOnce(pipeSize)
	kept := p.Stdout().Kept()
	pipe.reading.Unlock()
	pipe.ready()
	if err != nil || n <= scratchSize || kept != 99000 {
		t.Errorf("got %d bytes at once after %d, %v, %d kept, want more than %d and 99000",
			n, before, err, kept, scratchSize)
	}
	finish(t, p)
	all := first + numbers(300000)
	if got := endText(p.Stdout()); got != all[len(all)-1000:] || text(p.Stdout()) != all[:99000] {
		t.Errorf("got %d bytes and %.20q, want 99000 and the last 1000", len(text(p.Stdout())), got)
	}
}

func TestOutput_MemoryOfTheEnd(t *testing.T) {
	c := command("echo hi; head -c 150000 /dev/zero >&2")
	c.MaxOutput, c.OutputTail = 32<<20, 16<<20
	result := run(t, c)
	if result.Stdout.tail.data != nil || result.Stderr.tail.data != nil {
		t.Error("the end of an output that fits into the start takes memory")
	}
	c.MaxOutput, c.OutputTail = 16<<20+100000, 16<<20
	result = run(t, c)
	if got := cap(result.Stderr.tail.data); got > 100000 {
		t.Errorf("memory of an end of 50000 bytes: got %d after the end of the command", got)
	}
}

// The ring against a slice.
func TestRing_Model(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		r := ring{limit: random.IntN(20)}
		var model []byte
		for step := range 40 {
			if random.IntN(20) == 0 {
				r.reset()
				model = nil
			}
			p := make([]byte, random.IntN(30))
			for i := range p {
				p[i] = byte(random.Int())
			}
			r.write(p)
			model = append(model, p...)
			model = model[max(0, len(model)-r.limit):]
			if step == 39 {
				r.trim()
			}
			older, newer := r.pieces()
			if got := slices.Concat(older, newer); !bytes.Equal(got, model) {
				t.Fatalf("limit %d, step %d: got %q, want %q", r.limit, step, got, model)
			}
			n := random.IntN(len(model) + 1)
			if got := r.last(int64(n)); !bytes.Equal(got, model[len(model)-n:]) {
				t.Fatalf("the last %d: got %q, want %q", n, got, model[len(model)-n:])
			}
		}
	}
}

func TestCommand_EndAboveTheLimit(t *testing.T) {
	for _, tail := range []int{-1, 11} {
		c := command("true")
		c.MaxOutput, c.OutputTail = 10, tail
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(tail)) {
			t.Errorf("an end of %d bytes of 10: got %v, want an error", tail, err)
		}
	}
}

// newFIFO makes a FIFO from which a command reads one line, once, to wait for release.
func newFIFO(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func release(t *testing.T, fifo string) {
	t.Helper()
	if err := os.WriteFile(fifo, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A release that knows neither ends nor marks hands the start over. Its command goes on as it was.
func TestRestore_EarlierRelease(t *testing.T) {
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	state := ProcessState{Stdout: StreamState{
		Pipe: PipeState{FD: -1}, Limit: 10, Total: 12, Kept: w.AddBytes([]byte("0123456789")),
	}}
	file, err := w.Finish(state)
	if err != nil {
		t.Fatal(err)
	}
	in, err := handover.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{}
	o := p.Stdout()
	if err := o.restore(in, state.Stdout, newBufferPool()); err != nil {
		t.Fatal(err)
	}
	if err := p.restoreOrder(state); err != nil {
		t.Fatal(err)
	}
	o.addDropped(3)
	if start, end, total := o.Extent(); text(o) != "0123456789" || start != 10 || end != 0 ||
		total != 15 {
		t.Errorf("got %q, %d, %d, %d, want the first 10 of 15 bytes", text(o), start, end, total)
	}
	checkMarks(t, p.MarksAfter(-1, -1, maxMarks), 15, 0)
	if n := len(p.MarksAfter(-1, -1, maxMarks)); n != 2 {
		t.Errorf("got %d marks, want one for what was there, and one", n)
	}
	for name, wrong := range map[string]StreamState{
		"more than was written": {Pipe: PipeState{FD: -1}, Total: 9, Kept: state.Stdout.Kept},
		"an end above its limit": {
			Pipe: PipeState{FD: -1}, Total: 99, End: state.Stdout.Kept, EndLimit: 9,
		},
		"a negative limit": {Pipe: PipeState{FD: -1}, Total: 99, EndLimit: -1},
	} {
		if err := new(Output).restore(in, wrong, newBufferPool()); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
