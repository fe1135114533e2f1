package state

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"
)

const window = 300 * time.Second

// clock is a wall clock that a test sets.
type clock struct{ seconds int64 }

func (c *clock) now() time.Time { return time.Unix(c.seconds, 0) }

func fingerprint(i int) (f [16]byte) {
	binary.LittleEndian.PutUint64(f[:], uint64(i)+1)
	return f
}

func (d *Dir) nonces(t testing.TB, c *clock, boot byte, open opener) (*Nonces, FoundNonces) {
	t.Helper()
	n, found, err := d.openNonces(window, c.now, [16]byte{boot}, open)
	if err != nil {
		t.Fatal(err)
	}
	return n, found
}

// kill gives the files up as a killed process does.
func (n *Nonces) kill() {
	n.log.close()
	_ = n.mark.file.Close()
}

func add(t testing.TB, n *Nonces, i int, timestamp int64) {
	t.Helper()
	if err := n.Add(fingerprint(i), timestamp); err != nil {
		t.Fatal(err)
	}
}

// Case 2: what the next start knows, after each way of ending.
func TestNoncesSurvive(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*Nonces)
		boot  byte
		floor int64
	}{
		{"an orderly stop", func(n *Nonces) { _ = n.Close() }, 1, 0},
		{"an orderly stop and a reboot", func(n *Nonces) { _ = n.Close() }, 2, 0},
		{"kill -9", (*Nonces).kill, 1, 0},
		{"a power cut", (*Nonces).kill, 2, 1000 + slack},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, c := openDir(t, t.TempDir()), &clock{1000}
			n, found := d.nonces(t, c, 1, onDisk)
			if found.Floor != 0 || len(found.Live)+len(found.Damage) > 0 {
				t.Fatalf("at first: %+v", found)
			}
			add(t, n, 1, 1000)
			add(t, n, 2, 990)
			test.end(n)
			n, found = d.nonces(t, c, test.boot, onDisk)
			want := []Nonce{{fingerprint(1), 1000}, {fingerprint(2), 990}}
			if len(found.Live) != 2 || found.Live[0] != want[0] || found.Live[1] != want[1] || len(found.Damage) > 0 {
				t.Fatalf("found %+v", found)
			}
			if found.Floor != test.floor || (found.Why == "") != (test.floor == 0) {
				t.Fatalf("floor %d (%s), want %d", found.Floor, found.Why, test.floor)
			}
			n.kill()
			// The floor stays: what was lost before is still lost.
			if _, found = d.nonces(t, c, test.boot, onDisk); found.Floor != test.floor {
				t.Fatalf("floor %d at the next start, want %d", found.Floor, test.floor)
			}
		})
	}
}

func TestThePowerCutsFloorIsNeverBelowWhatWasAccepted(t *testing.T) {
	d, c := openDir(t, t.TempDir()), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	latest := int64(0)
	for i, timestamp := range []int64{1000, 1290, 700, 1005, 1299, 1300, 1311, 1500} {
		c.seconds = max(c.seconds, timestamp-300)
		add(t, n, i, timestamp)
		latest = max(latest, timestamp)
		onDiskMark := files(t, d.path)["nonces.mark"]
		floor := int64(0)
		for _, page := range [][]byte{onDiskMark[:markSize], onDiskMark[markPage : markPage+markSize]} {
			m, err := decodeMark(page)
			if err != nil {
				t.Fatal(err)
			}
			floor = max(floor, m.horizon)
		}
		if floor < latest || floor > latest+slack {
			t.Fatalf("after %d the horizon is %d", timestamp, floor)
		}
	}
	n.kill()
}

func TestASteadyFlowWaitsForNoSync(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, f.open)
	add(t, n, 0, 1000)
	for i := 1; i < 100; i++ {
		c.seconds++
		f.syncs = 0
		add(t, n, i, c.seconds)
		if f.syncs != 0 {
			t.Fatalf("second %d: Add synced", i)
		}
		if err := n.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	f.syncs = 0
	if err := n.Sync(); err != nil || f.syncs != 0 {
		t.Fatalf("an idle Sync: %v, %d syncs", err, f.syncs)
	}
	_ = n.Close()
}

func TestDeadNoncesAreDroppedAndCoveredByTheFloor(t *testing.T) {
	d, c := openDir(t, t.TempDir()), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	add(t, n, 1, 1200)
	c.seconds = 1500
	if err := n.Sync(); err != nil || diskUse(t, d.path) < headerSize+markPage*2+1 {
		t.Fatalf("dropped while the timestamp could still pass: %v", err)
	}
	c.seconds = 1501
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	if size := len(files(t, d.path)["nonces-00.log"]); size != 0 {
		t.Fatalf("%d bytes are left", size)
	}
	// Case 11: the clock is set back by an hour, and nothing of that time is remembered.
	c.seconds = 1100
	add(t, n, 2, 1301)
	n.kill()
	_, found := d.nonces(t, c, 1, onDisk)
	if found.Floor != 1200 || len(found.Live) != 1 {
		t.Fatalf("found %+v", found)
	}
}

func TestTheNonceLogStaysBounded(t *testing.T) {
	d, c := openDir(t, t.TempDir()), &clock{100000}
	n, _ := d.nonces(t, c, 1, onDisk)
	n.log.segmentSize = 64 << 10
	for i := range 100_000 {
		if i%100 == 0 {
			c.seconds++
			if err := n.Sync(); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
		add(t, n, i, c.seconds)
	}
	if use := diskUse(t, d.path); use > nonceFiles*64<<10+2*markPage+100 {
		t.Fatalf("%d bytes", use)
	}
	n.kill()
	// The bound is too small for 30,000 live nonces: what did not fit is covered by the floor.
	_, found := d.nonces(t, c, 1, onDisk)
	known := map[[16]byte]bool{}
	for _, live := range found.Live {
		known[live.Fingerprint] = true
	}
	for i := range 100_000 {
		timestamp := 100_001 + int64(i/100)
		if timestamp+300 >= c.seconds && timestamp > found.Floor && !known[fingerprint(i)] {
			t.Fatalf("nonce %d of %d could be replayed: %d live, floor %d", i, timestamp, len(known), found.Floor)
		}
	}
}

// A record never straddles a page, so a killed daemon's last write is there or not: no torn tail makes
// the next start refuse anything.
func TestANonceRecordNeverStraddlesAPage(t *testing.T) {
	if headerSize%(frameSize+nonceRecord) != 0 || 4096%(frameSize+nonceRecord) != 0 {
		t.Fatalf("records of %d bytes after a header of %d", frameSize+nonceRecord, headerSize)
	}
}

func TestConcurrentNonces(t *testing.T) {
	d, c := openDir(t, t.TempDir()), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	n.log.segmentSize = 4 << 10
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				if err := n.Add(fingerprint(worker*1000+i), 1000+int64(i)); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					_ = n.Sync()
				}
			}
		})
	}
	wg.Wait()
	n.kill()
	_, found := d.nonces(t, c, 1, onDisk)
	seen := map[[16]byte]bool{}
	for _, live := range found.Live {
		seen[live.Fingerprint] = true
	}
	if len(seen) != 800 || found.Floor != 0 {
		t.Fatalf("%d nonces, floor %d", len(seen), found.Floor)
	}
}

func TestTheBootIDIsRead(t *testing.T) {
	id, err := bootID()
	if err != nil || id == [16]byte{} {
		t.Fatal(id, err)
	}
}
