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

func TestCompaction_LongJobKeepsLogBounded(t *testing.T) {
	d := openDir(t, memoryDir(t))
	l, _ := d.deliveries(t, unsynced)
	long := someJob("long")
	long.Accepted = long.Accepted.Add(
		-time.Second,
	) // cleaning keeps no order among jobs of one moment
	if err := l.Accept(long); err != nil {
		t.Fatal(err)
	}
	accept(t, l, "undelivered")
	out := repeated(40_000)
	finish(t, l, "undelivered", out, out)
	most := int64(0)
	for i := range rounds(20_000, 100_000) {
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
		t.Fatalf("got %d bytes for two jobs, want up to %d", most, MinCapacity/2)
	}
	checkResult(t, l, "undelivered", out, out)
	l.kill()
	l, found := d.deliveries(t, onDisk)
	if outline(found) != "long:0 undelivered:1" || len(found.Damage) > 0 {
		t.Fatalf("got %s, %v, want long:0 undelivered:1", outline(found), found.Damage)
	}
	checkResult(t, l, "undelivered", out, out)
}

// The accept record of a job whose callback is settled is copied after the record that settled it.
func TestCompaction_SettledCallbackStaysSettled(t *testing.T) {
	d := openDir(t, memoryDir(t))
	l, _ := d.deliveries(t, unsynced)
	out := repeated(30_000)
	for i, id := range []string{"both", "kept", "owed"} {
		p := someJob(id)
		p.Accepted = p.Accepted.Add(time.Duration(i) * time.Second)
		p.Keep = id != "owed"
		if id == "kept" {
			p.URL = ""
		}
		if err := l.Accept(p); err != nil {
			t.Fatal(err)
		}
		finish(t, l, id, out, id)
	}
	if err := l.Settle("both"); err != nil {
		t.Fatal(err)
	}
	first, _ := l.log.oldest()
	for i := 0; ; i++ {
		if s, _ := l.log.oldest(); s != first {
			break
		}
		id := fmt.Sprint(i)
		accept(t, l, id)
		finish(t, l, id, out, "")
		if err := l.Done(id); err != nil {
			t.Fatal(err)
		}
	}
	l.kill()
	l, found := d.deliveries(t, onDisk)
	if outline(found) != "both:1 kept:1 owed:1" || len(found.Damage)+len(found.Lost) > 0 {
		t.Fatalf("got %s, %v, lost %v, want both:1 kept:1 owed:1", outline(found), found.Damage,
			found.Lost)
	}
	for _, p := range found.Pending {
		if want := p.Job.ID != "owed"; p.Job.Keep != want {
			t.Errorf("job %s: got Keep %t, want %t", p.Job.ID, p.Job.Keep, want)
		}
		checkResult(t, l, p.Job.ID, out, p.Job.ID)
		if err := l.Forget(p.Job.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Result("owed"); err != nil {
		t.Errorf("a job whose callback is owed was forgotten: %v", err)
	}
	l.kill()
	if _, found = d.deliveries(t, onDisk); outline(found) != "owed:1" {
		t.Errorf("got %s, want owed:1", outline(found))
	}
}

func TestDeliveries_FullLedgerRefusesAndRecovers(t *testing.T) {
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
		t.Fatalf("got %v after %d jobs, want %v after at least 10", err, len(ids), ErrFull)
	}
	for _, id := range ids {
		checkResult(t, l, id, out, "")
		if err := l.Done(id); err != nil {
			t.Fatal(err)
		}
	}
	accept(t, l, "again")
}

// modelJob is what the ledger should know of a job.
type modelJob struct {
	result     string // "" for none
	owed, kept bool
}

// TestDeliveries_Model does random things, with failures and restarts between them, and compares.
func TestDeliveries_Model(t *testing.T) {
	d, f := openDir(t, memoryDir(t)), &fault{}
	l, _ := d.deliveries(t, f.open)
	model := map[string]modelJob{}
	rng := rand.New(rand.NewPCG(3, 4))
	out := repeated(150_000)
	for step := range 6000 {
		f.set(nil, nil, nil)
		if rng.IntN(10) == 0 {
			f.set(unix.ENOSPC, nil, nil)
		}
		id := fmt.Sprint(rng.IntN(40))
		job, there := model[id]
		switch rng.IntN(8) {
		case 0, 1:
			promise, added := someJob(id), modelJob{owed: true}
			if promise.Keep = rng.IntN(2) == 0; promise.Keep {
				added.kept = true
				if rng.IntN(2) == 0 {
					promise.URL, added.owed = "", false
				}
			}
			if err := l.Accept(promise); (err == nil) && there {
				t.Fatalf("Accept of job %s, which is there: got nil, want an error", id)
			} else if err == nil {
				model[id] = added
			}
		case 2, 3:
			from := rng.IntN(len(out))
			want := out[from : from+rng.IntN(min(len(out)-from, 100_000))]
			err := l.Finish(id, []byte("meta of "+id), text(want), text("e"))
			if err == nil && (!there || job.result != "") {
				t.Fatalf("Finish of job %s: got nil, want an error", id)
			} else if err == nil {
				job.result = want + "e"
				model[id] = job
			}
		case 4:
			lower(t, l, f, model, id, (*Deliveries).Done, func(modelJob) modelJob { return modelJob{} })
		case 5:
			lower(t, l, f, model, id, (*Deliveries).Settle, func(j modelJob) modelJob {
				j.owed = false
				return j
			})
		case 6:
			lower(t, l, f, model, id, (*Deliveries).Forget, func(j modelJob) modelJob {
				j.kept = false
				return j
			})
		case 7:
			if there && job.result != "" {
				checkResult(t, l, id, job.result[:len(job.result)-1], "e")
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

// lower ends a part of a job's promise. What could not be written is written with the next batch.
func lower(
	t *testing.T, l *Deliveries, f *fault, model map[string]modelJob, id string,
	end func(*Deliveries, string) error, change func(modelJob) modelJob,
) {
	t.Helper()
	job, there := model[id]
	err := end(l, id)
	if !there {
		if !errors.Is(err, ErrUnknown) {
			t.Fatalf("the end of job %s, which is not there: got %v, want %v", id, err, ErrUnknown)
		}
		return
	}
	if err != nil { // the end could not be written, and holds all the same
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		f.set(nil, nil, nil)
		accept(t, l, "flush")
		_ = l.Done("flush")
	}
	job = change(job)
	if model[id] = job; !job.owed && !job.kept {
		delete(model, id)
	}
}

func compare(t *testing.T, l *Deliveries, found FoundDeliveries, model map[string]modelJob) {
	t.Helper()
	if len(found.Pending) != len(model) || len(found.Damage) > 0 {
		t.Fatalf("got %s, %v, want %d jobs", outline(found), found.Damage, len(model))
	}
	for _, p := range found.Pending {
		job, there := model[p.Job.ID]
		url := ""
		if job.owed {
			url = someJob(p.Job.ID).URL
		}
		if !there || (p.State == Finished) != (job.result != "") || p.Job.Keep == job.owed ||
			p.Job.URL != url || string(p.Job.Data) != "data of "+p.Job.ID {
			t.Fatalf("got %+v in state %d, want that of the model (there: %v, %d bytes, owed %v)",
				p.Job, p.State, there, len(job.result), job.owed)
		}
		if job.result != "" {
			checkResult(t, l, p.Job.ID, job.result[:len(job.result)-1], "e")
		}
		if job.owed && job.kept {
			l.Keep(p.Job.ID)
		}
	}
}

func TestDeliveries_FailedSyncIsNotDurable(t *testing.T) {
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
		t.Fatal("got a needed record in a file that failed to sync, want it moved")
	}
	l.kill()
	l, found := d.deliveries(t, f.open)
	if outline(found) != "kept:1" {
		t.Fatalf("got %s, want kept:1", outline(found))
	}
	checkResult(t, l, "kept", "a", "b")
}

func TestDeliveries_ConcurrentCallersShareSyncs(t *testing.T) {
	d, f := openDir(t, t.TempDir()), &fault{delay: 2 * time.Millisecond}
	l, _ := d.deliveries(t, f.open)
	out := repeated(6_000)
	f.syncs = 0
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("%d-%d", worker, i)
				err := l.Accept(someJob(id))
				if err == nil {
					err = l.Finish(id, []byte("meta of "+id), text(out), text(id))
				}
				if err != nil {
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
		t.Errorf("got %d syncs for 640 durable records of 32 callers, want up to 500", f.syncs)
	}
	if _, err := l.Result("0-1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Result after Done: got %v, want %v", err, ErrUnknown)
	}
	l.kill()
	_, found := d.deliveries(t, f.open)
	if len(found.Pending) != 32*4 {
		t.Fatalf("got %d pending jobs, want %d", len(found.Pending), 32*4)
	}
}
