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
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

func someJob(id string) Job {
	return Job{ID: id, URL: "http://127.0.0.1/" + id, Accepted: time.Unix(1000, 5), Data: []byte("data of " + id)}
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
		t.Fatalf("%d of %d bytes: %v", n, s.Size(), err)
	}
	return b.String()
}

func checkResult(t testing.TB, l *Deliveries, id, stdout, stderr string) {
	t.Helper()
	r, err := l.Result(id)
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Meta) != "meta of "+id || stored(t, r.Stdout) != stdout || stored(t, r.Stderr) != stderr {
		t.Fatalf("job %s: another result: meta %q, %d and %d bytes", id, r.Meta, r.Stdout.Size(), r.Stderr.Size())
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
func TestJobsSurvive(t *testing.T) {
	d := openDir(t, t.TempDir())
	l, found := d.deliveries(t, onDisk)
	if outline(found) != "" {
		t.Fatalf("at first: %+v", found)
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
			t.Fatalf("found %s, %v", got, found.Damage)
		}
		if j := found.Pending[0].Job; j.URL != someJob("running").URL || !j.Accepted.Equal(someJob("").Accepted) || string(j.Data) != "data of running" {
			t.Fatalf("found %+v", j)
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
		t.Fatal("nothing is pending, and a file is not empty")
	}
}

func TestAnOutputIsReadFromAnyOffset(t *testing.T) {
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
		t.Fatalf("%d bytes, %v", len(all), err)
	}
	for range 100 {
		from, p := rand.Int64N(100_000), make([]byte, 1+rand.IntN(30_000))
		n, err := r.Stdout.ReadAt(p, from)
		if string(p[:n]) != out[from:from+int64(n)] || (n < len(p)) != errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes from %d: %d, %v", len(p), from, n, err)
		}
	}
}

func TestWhatTheLedgerRefuses(t *testing.T) {
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
		{"too much data", l.Accept(Job{ID: "c", Data: make([]byte, 2<<20)}), ErrTooLarge},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v", test.name, test.got)
		}
	}
	if l.Accept(Job{}) == nil || l.Accept(Job{ID: strings.Repeat("x", 256)}) == nil {
		t.Error("an id that cannot be recorded was accepted")
	}
	accept(t, l, "short")
	for _, size := range []int64{0, 2, 4} {
		if l.Finish("short", nil, Output{size, strings.NewReader("abc")}, text("")) == nil {
			t.Errorf("3 bytes were taken for %d", size)
		}
	}
	finish(t, l, "short", "abc", "")
}

// Case 39: files cut at every byte, and every byte flipped.
func TestDamagedDeliveryFilesLoseOnlyWhatWasHit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
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
				t.Fatalf("%s at %d: %v", what, at, err)
			}
			return
		}
		defer l.kill()
		for _, p := range found.Pending {
			if p.Job.URL != someJob(p.Job.ID).URL || string(p.Job.Data) != "data of "+p.Job.ID {
				t.Fatalf("%s at %d: invented %+v", what, at, p)
			}
			if p.State == Finished {
				outs := map[string][2]string{"a": {"out of a", ""}, "b": {"out of b", "errors of b"}}[p.Job.ID]
				checkResult(t, l, p.Job.ID, outs[0], outs[1])
			}
		}
		if what == "flipped" && len(found.Damage) == 0 {
			t.Fatalf("flipped at %d: not reported", at)
		}
		// One hit costs one record: what is missing of b and c is one of them, or b's result.
		if what == "flipped" && at >= headerSize && len(found.Pending)+len(found.Lost) < 2 && !slices.ContainsFunc(found.Pending, func(p Pending) bool { return p.Job.ID == "b" && p.State == Finished }) {
			t.Fatalf("flipped at %d: %s, lost %v", at, outline(found), found.Lost)
		}
	}
	for at := range whole[name] {
		check(whole[name][:at], "cut", at)
		damaged := bytes.Clone(whole[name])
		damaged[at] ^= 0x41
		check(damaged, "flipped", at)
	}
}

func TestTheDeliveryLogStaysBoundedAndALongJobKeepsNothingElse(t *testing.T) {
	d := openDir(t, t.TempDir())
	l, _ := d.deliveries(t, unsynced)
	accept(t, l, "long")
	accept(t, l, "undelivered")
	out := repeated(40_000)
	finish(t, l, "undelivered", out, out)
	most := int64(0)
	for i := range 100_000 {
		id := fmt.Sprint(i)
		accept(t, l, id)
		finish(t, l, id, out[:i%2000], "")
		if err := l.Done(id); err != nil {
			t.Fatal(err)
		}
		if i%5000 == 0 {
			most = max(most, diskUse(t, d.path))
		}
	}
	if most > MinCapacity/2 {
		t.Fatalf("%d bytes for two jobs", most)
	}
	checkResult(t, l, "undelivered", out, out)
	l.kill()
	l, found := d.deliveries(t, onDisk)
	if outline(found) != "long:0 undelivered:1" || len(found.Damage) > 0 {
		t.Fatalf("found %s, %v", outline(found), found.Damage)
	}
	checkResult(t, l, "undelivered", out, out)
}

func TestAFullLedgerRefusesAndRecovers(t *testing.T) {
	d := openDir(t, t.TempDir())
	l, _, err := OpenDeliveries(d, MinCapacity, 200_000)
	if err != nil {
		t.Fatal(err)
	}
	out := repeated(90_000)
	var ids []string
	for i := range 100 {
		id := fmt.Sprint(i)
		if err = l.Accept(someJob(id)); err != nil {
			break
		}
		ids = append(ids, id)
		finish(t, l, id, out, "") // the headroom is there for it
	}
	if !errors.Is(err, ErrFull) || len(ids) < 10 {
		t.Fatalf("after %d: %v", len(ids), err)
	}
	for _, id := range ids {
		checkResult(t, l, id, out, "")
		if err := l.Done(id); err != nil {
			t.Fatal(err)
		}
	}
	accept(t, l, "again")
}

// TestAgainstAModel does random things, with failures and restarts between them, and compares.
func TestAgainstAModel(t *testing.T) {
	d, f := openDir(t, t.TempDir()), &fault{}
	l, _ := d.deliveries(t, f.open)
	model := map[string]string{} // id: result, or "" for none
	rng := rand.New(rand.NewPCG(3, 4))
	out := repeated(150_000)
	for step := range 6000 {
		f.set(nil, nil, nil)
		if rng.IntN(10) == 0 {
			f.set(unix.ENOSPC, nil, nil)
		}
		id := fmt.Sprint(rng.IntN(40))
		result, there := model[id]
		switch rng.IntN(6) {
		case 0, 1:
			if err := l.Accept(someJob(id)); (err == nil) && there {
				t.Fatal("accepted twice")
			} else if err == nil {
				model[id] = ""
			}
		case 2, 3:
			from := rng.IntN(len(out))
			want := out[from : from+rng.IntN(min(len(out)-from, 100_000))]
			if err := l.Finish(id, []byte("meta of "+id), text(want), text("e")); err == nil && (!there || result != "") {
				t.Fatal("finished twice")
			} else if err == nil {
				model[id] = want + "e"
			}
		case 4:
			if err := l.Done(id); there && err == nil {
				delete(model, id)
			} else if there { // the end could not be written, and holds all the same
				if !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
				f.set(nil, nil, nil)
				accept(t, l, "flush")
				_ = l.Done("flush")
				delete(model, id)
			}
		case 5:
			if there && result != "" {
				checkResult(t, l, id, result[:len(result)-1], "e")
			}
		}
		if step%100 == 99 {
			l.kill()
			var found FoundDeliveries
			f.set(nil, nil, nil)
			l, found = d.deliveries(t, f.open)
			compare(t, l, found, model)
		}
	}
}

func compare(t *testing.T, l *Deliveries, found FoundDeliveries, model map[string]string) {
	t.Helper()
	if len(found.Pending) != len(model) || len(found.Damage) > 0 {
		t.Fatalf("found %s, want %d; %v", outline(found), len(model), found.Damage)
	}
	for _, p := range found.Pending {
		result, there := model[p.Job.ID]
		if !there || (p.State == Finished) != (result != "") {
			t.Fatalf("job %s is %d, and was %v, %d bytes", p.Job.ID, p.State, there, len(result))
		}
		if result != "" {
			checkResult(t, l, p.Job.ID, result[:len(result)-1], "e")
		}
	}
}

func TestWhatCouldNotBeSyncedIsNotPromised(t *testing.T) {
	d, f := openDir(t, t.TempDir()), &fault{}
	l, _ := d.deliveries(t, f.open)
	accept(t, l, "kept")
	f.set(nil, nil, unix.EIO)
	if err := l.Accept(someJob("refused")); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if err := l.Finish("kept", nil, text("a"), text("b")); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	f.set(nil, nil, nil)
	finish(t, l, "kept", "a", "b") // in another file: the first one is not trusted any more
	if l.jobs["kept"].finish.segment.broken() || l.jobs["kept"].accept.segment.broken() {
		t.Fatal("a record that is needed is in a file that failed to sync")
	}
	l.kill()
	l, found := d.deliveries(t, f.open)
	if outline(found) != "kept:1" {
		t.Fatal(outline(found))
	}
	checkResult(t, l, "kept", "a", "b")
}

func TestConcurrentJobsShareSyncs(t *testing.T) {
	d, f := openDir(t, t.TempDir()), &fault{delay: 2 * time.Millisecond}
	l, _ := d.deliveries(t, f.open)
	out := repeated(6_000)
	f.syncs = 0
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("%d-%d", worker, i)
				if err := errors.Join(l.Accept(someJob(id)), l.Finish(id, []byte("meta of "+id), text(out), text(id))); err != nil {
					t.Error(err)
					return
				}
				checkResult(t, l, id, out, id)
				if i%3 != 0 {
					if err := l.Done(id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if f.syncs > 500 {
		t.Errorf("%d syncs for 640 durable records of 32 callers", f.syncs)
	}
	if _, err := l.Result("0-1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a result after Done: %v", err)
	}
	l.kill()
	_, found := d.deliveries(t, f.open)
	if len(found.Pending) != 32*4 {
		t.Fatalf("%d pending", len(found.Pending))
	}
}
