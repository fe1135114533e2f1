package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (d *Dir) deliveries(t testing.TB, open opener) (*Deliveries, FoundDeliveries) {
	t.Helper()
	l, found, err := d.openDeliveries(MinCapacity, 0, open)
	if err != nil {
		t.Fatal(err)
	}
	return l, found
}

func (d *Deliveries) kill() { d.log.close() }

func someJob(id string) Promise {
	return Promise{
		ID: id, URL: "http://127.0.0.1/" + id, Accepted: time.Unix(1000, 5),
		Data: []byte("data of " + id),
	}
}

func accept(t testing.TB, l *Deliveries, id string) {
	t.Helper()
	if err := l.Accept(someJob(id)); err != nil {
		t.Fatal(err)
	}
}

func finish(t testing.TB, l *Deliveries, id, stdout, stderr string) {
	t.Helper()
	if err := l.Finish(id, []byte("meta of "+id), text(stdout), text(stderr)); err != nil {
		t.Fatal(err)
	}
}

func stored(t testing.TB, s *Stored) string {
	t.Helper()
	var b bytes.Buffer
	if n, err := s.WriteTo(&b); err != nil || n != s.Size() {
		t.Fatalf("got %d bytes, %v, want %d", n, err, s.Size())
	}
	return b.String()
}

func checkResult(t testing.TB, l *Deliveries, id, stdout, stderr string) {
	t.Helper()
	r, err := l.Result(id)
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Meta) != "meta of "+id || stored(t, r.Stdout) != stdout ||
		stored(t, r.Stderr) != stderr {
		t.Fatalf(
			"job %s: got meta %q, %d and %d bytes, want those of Finish (%d and %d bytes)", id,
			r.Meta, r.Stdout.Size(), r.Stderr.Size(), len(stdout), len(stderr),
		)
	}
}

func outline(found FoundDeliveries) string {
	var b strings.Builder
	for _, p := range found.Pending {
		fmt.Fprintf(&b, "%s:%d ", p.Job.ID, p.State)
	}
	return strings.TrimSpace(b.String())
}

// Cases 35 and 44.
func TestDeliveries_SurviveRestart(t *testing.T) {
	d := openDir(t, t.TempDir())
	l, found := d.deliveries(t, onDisk)
	if outline(found) != "" {
		t.Fatalf("got %+v in a new directory, want no job", found)
	}
	out, errs := repeated(200_000), repeated(70_000)
	for _, id := range []string{"running", "finished", "done", "empty"} {
		accept(t, l, id)
	}
	finish(t, l, "finished", out, errs)
	finish(t, l, "empty", "", "")
	finish(t, l, "done", "x", "")
	if err := l.Done("done"); err != nil {
		t.Fatal(err)
	}
	checkResult(t, l, "finished", out, errs)
	for range 2 {
		l.kill()
		l, found = d.deliveries(t, onDisk)
		if got := outline(found); got != "running:0 finished:1 empty:1" || len(found.Damage) > 0 {
			t.Fatalf(
				"got %s, %v, want running:0 finished:1 empty:1 and no damage", got, found.Damage,
			)
		}
		if j := found.Pending[0].Job; j.URL != someJob("running").URL ||
			!j.Accepted.Equal(someJob("").Accepted) ||
			string(j.Data) != "data of running" {
			t.Fatalf("got %+v, want %+v", j, someJob("running"))
		}
		checkResult(t, l, "finished", out, errs)
		checkResult(t, l, "empty", "", "")
	}
	for _, id := range []string{"running", "finished", "empty"} {
		if err := l.Done(id); err != nil {
			t.Fatal(err)
		}
	}
	if log := files(t, d.path); len(log["deliveries-00.log"]) > 0 {
		t.Fatalf("got %d bytes in the log, want 0 as no job is left", len(log["deliveries-00.log"]))
	}
}

func TestStored_ReadAtAnyOffset(t *testing.T) {
	l, _ := openDir(t, t.TempDir()).deliveries(t, onDisk)
	out := repeated(100_000)
	accept(t, l, "a")
	finish(t, l, "a", out, "")
	r, err := l.Result("a")
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(io.NewSectionReader(r.Stdout, 0, r.Stdout.Size()))
	if err != nil || string(all) != out {
		t.Fatalf("got %d bytes, %v, want %d", len(all), err, len(out))
	}
	for range 100 {
		from, p := rand.Int64N(100_000), make([]byte, 1+rand.IntN(30_000))
		n, err := r.Stdout.ReadAt(p, from)
		if string(p[:n]) != out[from:from+int64(n)] || (n < len(p)) != errors.Is(err, io.EOF) {
			t.Fatalf(
				"ReadAt of %d bytes from %d: got %d, %v, want the output", len(p), from, n, err,
			)
		}
	}
}

func TestDeliveries_Refusals(t *testing.T) {
	l, _ := openDir(t, t.TempDir()).deliveries(t, onDisk)
	accept(t, l, "a")
	finish(t, l, "a", "x", "")
	for _, test := range []struct {
		name string
		got  error
		want error
	}{
		{"the same id again", l.Accept(someJob("a")), ErrExists},
		{"a second result", l.Finish("a", nil, text(""), text("")), ErrExists},
		{"a result of nothing", l.Finish("b", nil, text(""), text("")), ErrUnknown},
		{"the end of nothing", l.Done("b"), ErrUnknown},
		{"too much data", l.Accept(Promise{ID: "c", Keep: true, Data: make([]byte, 2<<20)}), ErrTooLarge},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, test.got, test.want)
		}
	}
	if l.Accept(Promise{ID: "c"}) == nil {
		t.Error("Accept: got nil for a job that was promised nothing, want an error")
	}
	if l.Accept(Promise{}) == nil || l.Accept(Promise{ID: strings.Repeat("x", 256)}) == nil {
		t.Error("Accept: got nil for an id that is empty or too long, want an error")
	}
	accept(t, l, "short")
	for _, size := range []int64{0, 2, 4} {
		if l.Finish("short", nil, Output{size, strings.NewReader("abc")}, text("")) == nil {
			t.Errorf("Finish with 3 bytes and Size %d: got nil, want an error", size)
		}
	}
	finish(t, l, "short", "abc", "")
}

// Case 39: files cut at every byte, and every byte flipped.
func TestDeliveries_EveryByteDamaged(t *testing.T) {
	path := filepath.Join(memoryDir(t), "state")
	lay(t, path, nil)
	d := openDir(t, path)
	l, _ := d.deliveries(t, onDisk)
	for _, id := range []string{"a", "b", "c"} {
		accept(t, l, id)
	}
	finish(t, l, "a", "out of a", "")
	finish(t, l, "b", "out of b", "errors of b")
	if err := l.Done("a"); err != nil {
		t.Fatal(err)
	}
	l.kill()
	_ = d.Close()
	whole := files(t, path)
	name := "deliveries-00.log"
	check := func(damaged []byte, what string, at int) {
		t.Helper()
		lay(t, path, map[string][]byte{name: damaged})
		d := openDir(t, path)
		defer d.Close()
		l, found, err := d.openDeliveries(MinCapacity, 0, onDisk)
		if err != nil {
			if !errors.Is(err, errForeign) {
				t.Fatalf("%s at %d: got %v, want %v or none", what, at, err, errForeign)
			}
			return
		}
		defer l.kill()
		for _, p := range found.Pending {
			if p.Job.URL != someJob(p.Job.ID).URL || string(p.Job.Data) != "data of "+p.Job.ID {
				t.Fatalf("%s at %d: got %+v, want %+v", what, at, p.Job, someJob(p.Job.ID))
			}
			if p.State == Finished {
				outs := map[string][2]string{"a": {"out of a", ""}, "b": {"out of b", "errors of b"}}[p.Job.ID]
				checkResult(t, l, p.Job.ID, outs[0], outs[1])
			}
		}
		if what == "flipped" && len(found.Damage) == 0 {
			t.Fatalf("flipped at %d: got no damage, want it reported", at)
		}
		// One hit costs one record: what is missing of b and c is one of them, or b's result.
		if what == "flipped" && at >= headerSize && len(found.Pending)+len(found.Lost) < 2 &&
			!slices.ContainsFunc(
				found.Pending,
				func(p Pending) bool { return p.Job.ID == "b" && p.State == Finished },
			) {
			t.Fatalf(
				"flipped at %d: got %s, lost %v, want one record lost at most", at, outline(found),
				found.Lost,
			)
		}
	}
	for at := range whole[name] {
		check(whole[name][:at], "cut", at)
		damaged := bytes.Clone(whole[name])
		damaged[at] ^= 0x41
		check(damaged, "flipped", at)
	}
}
