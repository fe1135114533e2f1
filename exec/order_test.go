package exec

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// checkMarks fails unless marks rise to the end of both streams.
func checkMarks(t *testing.T, marks []Mark, stdout, stderr int) {
	t.Helper()
	var last Mark
	for _, m := range marks {
		if m.Stdout < last.Stdout || m.Stderr < last.Stderr || m.At.Before(last.At) ||
			m.Stdout == last.Stdout && m.Stderr == last.Stderr {
			t.Errorf("got %v after %v", m, last)
		}
		last = m
	}
	if last.Stdout != int64(stdout) || last.Stderr != int64(stderr) {
		t.Errorf("the last mark: got %v, want %d and %d bytes", last, stdout, stderr)
	}
	if len(marks) > maxMarks {
		t.Errorf("got %d marks, want at most %d", len(marks), maxMarks)
	}
}

// What a command writes to the two streams in turn is read in this order, if the daemon has read
// the one before the other is written.
func TestOrder_StreamsInTurn(t *testing.T) {
	first, second := newFIFO(t), newFIFO(t)
	c := command("echo one; read _ < $F; echo two >&2; read _ < $G; echo three; echo three")
	c.Env = []string{"F=" + first, "G=" + second}
	p := start(t, newTestRunner(t), c)
	before := time.Now().Add(-time.Second)
	testkit.Eventually(t, "one", func() bool { return p.Stdout().Total() == 4 })
	release(t, first)
	testkit.Eventually(t, "two", func() bool { return p.Stderr().Total() == 4 })
	middle := time.Now()
	release(t, second)
	finish(t, p)
	marks := p.MarksAfter(0, 0, maxMarks)
	checkMarks(t, marks, 16, 4)
	if len(marks) < 3 || marks[0].Stdout != 4 || marks[0].Stderr != 0 || marks[1].Stdout != 4 ||
		marks[1].Stderr != 4 || marks[0].At.Before(before) || marks[1].At.After(middle) ||
		marks[2].At.Before(marks[1].At) {
		t.Fatalf("got %v, want stdout up to 4, stderr up to 4, and the rest", marks)
	}
	if got := p.MarksAfter(4, 0, 1); len(got) != 1 || got[0] != marks[1] {
		t.Errorf("after 4 and 0: got %v, want %v", got, marks[1])
	}
	if got := p.MarksAfter(16, 4, 9); len(got) != 0 {
		t.Errorf("at the end: got %v, want none", got)
	}
}

// However much is read, the marks stay bounded, and lead to the same end.
func TestOrder_Bound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, next := range map[string]func(i int) int{
		"one stream": func(int) int { return 1 },
		"in turn":    func(i int) int { return i % 2 },
		"at random":  func(int) int { return random.IntN(2) },
	} {
		var o order
		var ends [2]int64
		at := time.Unix(1000, 0)
		for i := range 20 * maxMarks {
			stream, n := next(i), random.Int64N(100)+1
			ends[stream] += n
			at = at.Add(time.Millisecond)
			o.note(stream, n, at, [2]int64{})
		}
		marks := o.after(-1, -1, 2*maxMarks)
		checkMarks(t, marks, int(ends[0]), int(ends[1]))
		if len(marks) < maxMarks/4 {
			t.Errorf("%s: got %d marks, want not so few", name, len(marks))
		}
		total := at.Sub(time.Unix(1000, 0))
		if longest := longestPause(marks); longest > total/16 {
			t.Errorf("%s: got %s between two marks of %s in total", name, longest, total)
		}
	}
}

func longestPause(marks []Mark) (longest time.Duration) {
	for i := 1; i < len(marks); i++ {
		longest = max(longest, marks[i].At.Sub(marks[i-1].At))
	}
	return longest
}

// The marks of what is kept stay, whatever is written behind them. So does the order, while pairs
// within one stream can be merged.
func TestOrder_KeptBeforeMissing(t *testing.T) {
	var o order
	var total int64
	at := time.Unix(1000, 0)
	for range 100 * maxMarks {
		total += 10
		at = at.Add(time.Millisecond)
		o.note(0, 10, at, [2]int64{1000, max(1000, total-500)})
	}
	marks := o.after(-1, -1, maxMarks)
	checkMarks(t, marks, int(total), 0)
	for i := range 100 { // of the start
		if marks[i].Stdout != int64(10*(i+1)) {
			t.Fatalf("mark %d: got %v, want %d bytes", i, marks[i], 10*(i+1))
		}
	}
	for i := range 50 { // of the end
		if got := marks[len(marks)-1-i].Stdout; got != total-int64(10*i) {
			t.Fatalf("mark %d from the end: got %d, want %d bytes", i, got, total-int64(10*i))
		}
	}
	var turns order
	for i := range 100 * maxMarks {
		stream := 0
		if i%1000 == 500 {
			stream = 1
		}
		turns.note(stream, 1, at, [2]int64{})
	}
	var last Mark
	for _, m := range turns.after(-1, -1, maxMarks) {
		if m.Stdout > last.Stdout && m.Stderr > last.Stderr {
			t.Fatalf("got %v after %v: two streams were merged", m, last)
		}
		last = m
	}
}

func TestOrder_Encoding(t *testing.T) {
	p := &Process{}
	at := time.UnixMicro(1795420757123456)
	for i := range maxMarks {
		p.order.note(i%2, int64(i)*1000003, at.Add(time.Duration(i*i)*time.Microsecond), [2]int64{})
	}
	want := p.MarksAfter(-1, -1, maxMarks)
	got, err := DecodeMarks(p.Marks())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := DecodeMarks(append(p.Marks(), 1, 1, 1)); err == nil {
		t.Errorf("got no error for %d marks", maxMarks+1)
	}
}

func FuzzDecodeMarks(f *testing.F) {
	for _, seed := range []string{
		"", "\x01", "\x01\x02\x03", "\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01",
		"\x80\x80\x80\x80\x80\x80\x80\x80\x40\x01\x01\x80\x80\x80\x80\x80\x80\x80\x80\x40\x01\x01",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		marks, err := DecodeMarks(encoded)
		if err != nil {
			return
		}
		var last Mark
		for _, m := range marks {
			if m.Stdout < last.Stdout || m.Stderr < last.Stderr || m.At.Before(last.At) &&
				!last.At.IsZero() {
				t.Fatalf("got %v after %v", m, last)
			}
			last = m
		}
		p := &Process{}
		if p.order.decode(encoded) != nil {
			t.Fatal("it is decoded once only")
		}
		again, err := DecodeMarks(p.Marks())
		if err != nil || !slices.Equal(again, marks) {
			t.Fatalf("got %v, %v, want %v", again, err, marks)
		}
	})
}
