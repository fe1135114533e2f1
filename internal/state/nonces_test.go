package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
func TestNonces_SurviveEachEnd(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*Nonces)
		boot  byte
		floor int64
	}{
		{"an orderly stop", func(n *Nonces) { _ = n.Close() }, 1, 0},
		{"an orderly stop and a reboot", func(n *Nonces) { _ = n.Close() }, 2, 0},
		{"kill -9", (*Nonces).kill, 1, 0},
		{"a power cut", (*Nonces).kill, 2, 1000 + horizonLead},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, c := openDir(t, t.TempDir()), &clock{1000}
			n, found := d.nonces(t, c, 1, onDisk)
			if found.Floor != 0 || len(found.Live)+len(found.Damage) > 0 {
				t.Fatalf("got %+v in a new directory, want nothing", found)
			}
			add(t, n, 1, 1000)
			add(t, n, 2, 990)
			test.end(n)
			n, found = d.nonces(t, c, test.boot, onDisk)
			want := []Nonce{{fingerprint(1), 1000}, {fingerprint(2), 990}}
			if len(found.Live) != 2 || found.Live[0] != want[0] || found.Live[1] != want[1] ||
				len(found.Damage) > 0 {
				t.Fatalf("got %+v, want live %v", found, want)
			}
			if found.Floor != test.floor || (found.Why == "") != (test.floor == 0) {
				t.Fatalf("got floor %d (%s), want %d", found.Floor, found.Why, test.floor)
			}
			n.kill()
			// The floor stays: what was lost before is still lost.
			if _, found = d.nonces(t, c, test.boot, onDisk); found.Floor != test.floor {
				t.Fatalf("got floor %d at the next start, want %d", found.Floor, test.floor)
			}
		})
	}
}

func TestNonces_HorizonIsNotBeforeAcceptedTimestamps(t *testing.T) {
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
		if floor < latest || floor > latest+horizonLead {
			t.Fatalf(
				"got horizon %d after %d, want %d to %d", floor, timestamp, latest,
				latest+horizonLead,
			)
		}
	}
	n.kill()
}

func TestNonces_SteadyFlowNeedsNoSync(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, f.open)
	add(t, n, 0, 1000)
	for i := 1; i < 100; i++ {
		c.seconds++
		f.syncs = 0
		add(t, n, i, c.seconds)
		if f.syncs != 0 {
			t.Fatalf("second %d: got %d syncs by Add, want 0", i, f.syncs)
		}
		if err := n.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	f.syncs = 0
	if err := n.Sync(); err != nil || f.syncs != 0 {
		t.Fatalf("idle Sync: got %v, %d syncs, want none", err, f.syncs)
	}
	_ = n.Close()
}

func TestNonces_ExpiredAreDropped(t *testing.T) {
	d, c := openDir(t, t.TempDir()), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	add(t, n, 1, 1200)
	c.seconds = 1500
	if err := n.Sync(); err != nil || diskUse(t, d.path) < headerSize+markPage*2+1 {
		t.Fatalf("got a dropped nonce or %v, want it kept while its timestamp can pass", err)
	}
	c.seconds = 1501
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	if size := len(files(t, d.path)["nonces-00.log"]); size != 0 {
		t.Fatalf("got %d bytes, want 0", size)
	}
	// Case 11: the clock is set back by an hour, and nothing of that time is remembered.
	c.seconds = 1100
	add(t, n, 2, 1301)
	n.kill()
	_, found := d.nonces(t, c, 1, onDisk)
	if found.Floor != 1200 || len(found.Live) != 1 {
		t.Fatalf("got %+v, want floor 1200 and one live nonce", found)
	}
}

func TestNonces_LogStaysBounded(t *testing.T) {
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
		t.Fatalf("got %d bytes, want up to %d", use, nonceFiles*64<<10+2*markPage+100)
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
			t.Fatalf(
				"nonce %d of %d: got neither live nor refused (%d live, floor %d)", i, timestamp,
				len(known), found.Floor,
			)
		}
	}
}

// A record never straddles a page, so a killed daemon's last write is there or not: no torn tail
// makes the next start refuse anything.
func TestNonces_RecordFitsPages(t *testing.T) {
	if headerSize%(frameSize+nonceSize) != 0 || 4096%(frameSize+nonceSize) != 0 {
		t.Fatalf(
			"got records of %d bytes and a header of %d, want divisors of a page",
			frameSize+nonceSize, headerSize,
		)
	}
}

func TestNonces_Concurrent(t *testing.T) {
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
		t.Fatalf("got %d nonces, floor %d, want 800 and 0", len(seen), found.Floor)
	}
}

func TestBootID_IsRead(t *testing.T) {
	id, err := bootID()
	if err != nil || id == [16]byte{} {
		t.Fatalf("got %x, %v, want an id", id, err)
	}
}

// Case 39: both files cut at every byte, and every byte flipped.
func TestNonces_EveryByteDamaged(t *testing.T) {
	path := filepath.Join(memoryDir(t), "state")
	c := &clock{1000}
	build := func() {
		lay(t, path, nil)
		d := openDir(t, path)
		n, _ := d.nonces(t, c, 1, onDisk)
		for i := range 5 {
			add(t, n, i, 1000+int64(i))
		}
		_ = n.Close()
		_ = d.Close()
	}
	build()
	whole := files(t, path)
	check := func(name string, damaged []byte, what string, at int) {
		t.Helper()
		contents := map[string][]byte{}
		for k, v := range whole {
			contents[k] = v
		}
		contents[name] = damaged
		lay(t, path, contents)
		d := openDir(t, path)
		defer d.Close()
		n, found, err := d.openNonces(window, c.now, [16]byte{1}, onDisk)
		if err != nil {
			if !errors.Is(err, errForeign) {
				t.Fatalf("%s %s at %d: got %v, want %v or none", name, what, at, err, errForeign)
			}
			return
		}
		defer n.kill()
		known := map[[16]byte]bool{}
		for _, live := range found.Live {
			i := int(binary.LittleEndian.Uint64(live.Fingerprint[:])) - 1
			if i < 0 || i >= 5 || live.Timestamp != 1000+int64(i) {
				t.Fatalf("%s %s at %d: got %+v, which was not added", name, what, at, live)
			}
			known[live.Fingerprint] = true
		}
		for i := range 5 {
			if !known[fingerprint(i)] && found.Floor < 1000+int64(i) {
				t.Fatalf(
					"%s %s at %d: got %+v, want nonce %d live or refused", name, what, at, found, i,
				)
			}
		}
		if len(found.Live) < 5 && (len(found.Damage) == 0 || found.Why == "") {
			t.Fatalf("%s %s at %d: got %+v, want damage and Why", name, what, at, found)
		}
	}
	for _, name := range []string{"nonces-00.log", "nonces.mark"} {
		data := whole[name]
		for at := 0; at < len(data); at++ {
			if name == "nonces.mark" && at%markPage > markSize+2 {
				continue // padding
			}
			check(name, data[:at], "cut", at)
			damaged := bytes.Clone(data)
			damaged[at] ^= 0x41
			check(name, damaged, "flipped", at)
		}
	}
}

func TestNonces_UnrecordedRaisesTheFloor(t *testing.T) {
	for _, test := range []struct {
		name        string
		write, sync error
	}{
		{"the disk is full", unix.ENOSPC, nil},
		{"the disk fails to sync", nil, unix.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
			n, _ := d.nonces(t, c, 1, func(f2 *os.File) file {
				if strings.HasSuffix(f2.Name(), ".mark") {
					return onDisk(f2) // in place, so it needs no space
				}
				return f.open(f2)
			})
			add(t, n, 1, 1000)
			f.set(test.write, nil, test.sync)
			add(t, n, 2, 1001)
			if err := n.Sync(); err == nil {
				t.Fatal("Sync: got nil, want an error, as nonces are not durable")
			}
			f.set(nil, nil, nil)
			add(t, n, 3, 1002)
			if err := n.Sync(); err != nil {
				t.Fatal(err)
			}
			n.kill()
			_, found := d.nonces(t, c, 1, onDisk)
			if found.Floor < 1001 || found.Why == "" || len(found.Live) < 2 ||
				len(found.Damage) > 0 {
				t.Fatalf(
					"got %+v, want a floor of at least 1001 with Why, and two live nonces", found,
				)
			}
		})
	}
}

func TestNonces_UnwritableMarkRefuses(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, f.open)
	add(t, n, 1, 1000)
	f.set(unix.EIO, nil, unix.EIO)
	if err := n.Add(fingerprint(2), 1001); !errors.Is(err, unix.EIO) {
		t.Fatalf("within the horizon: got %v, want %v", err, unix.EIO)
	}
	if err := n.Add(fingerprint(2), 1100); !errors.Is(err, unix.EIO) {
		t.Fatalf("past the horizon: got %v, want %v", err, unix.EIO)
	}
	f.set(nil, nil, nil)
	add(t, n, 3, 1101)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Add(fingerprint(4), 1101); !errors.Is(err, errClosed) {
		t.Fatalf("after Close: got %v, want %v", err, errClosed)
	}
}

func TestNonces_InterruptedStartHidesNoDamage(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, onDisk)
	add(t, n, 1, 1000)
	add(t, n, 2, 1001)
	n.kill()
	log := filepath.Join(d.path, "nonces-00.log")
	if err := os.Truncate(log, headerSize+frameSize+nonceSize+5); err != nil {
		t.Fatal(err)
	}
	f.set(nil, nil, unix.EIO)
	_, _, err := d.openNonces(window, c.now, [16]byte{1}, f.open) // after the tail was cut off
	if !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if info, err := os.Stat(log); err != nil || info.Size() != headerSize+frameSize+nonceSize {
		t.Fatalf("got %d bytes, %v, want the tail truncated", info.Size(), err)
	}
	if _, found := d.nonces(t, c, 1, onDisk); found.Floor < 1001 {
		t.Fatalf("got %+v, want a floor of at least 1001", found)
	}
}

// A request that was refused because its nonce could not be recorded may be retried with a fresh
// one, and then must not be replayed, also after a restart.
func TestNonces_RefusedStaysRefusedAfterRestart(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Nonces){
		"killed after a Sync": func(t *testing.T, n *Nonces) {
			if err := n.Sync(); err != nil {
				t.Fatal(err)
			}
			n.kill()
		},
		"closed": func(t *testing.T, n *Nonces) {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
			n, _ := d.nonces(t, c, 1, f.open)
			add(t, n, 1, 1000)
			f.set(unix.EIO, nil, unix.EIO)
			if err := n.Add(fingerprint(2), 1003); !errors.Is(err, unix.EIO) {
				t.Fatal(err)
			}
			f.set(nil, nil, nil)
			add(t, n, 3, 1005)
			end(t, n)
			_, found := d.nonces(t, c, 1, onDisk)
			if found.Floor < 1003 || found.Floor >= 1005 || found.Why == "" ||
				len(found.Damage) > 0 {
				t.Errorf("got %+v, want a floor of 1003 or 1004 with Why", found)
			}
		})
	}
}
