package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheDeliveryLogStaysBoundedAndALongJobKeepsNothingElse(t *testing.T) {
	d := openDir(t, t.TempDir())
	l, _ := d.deliveries(t, unsynced)
	long := someJob("long")
	long.Accepted = long.Accepted.Add(-time.Second) // cleaning keeps no order among jobs of one moment
	if err := l.Accept(long); err != nil {
		t.Fatal(err)
	}
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
