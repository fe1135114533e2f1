package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Case 39: both files cut at every byte, and every byte flipped.
func TestDamagedNonceFilesNeverLetAReplayPass(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
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
				t.Fatalf("%s %s at %d: %v", name, what, at, err)
			}
			return
		}
		defer n.kill()
		known := map[[16]byte]bool{}
		for _, live := range found.Live {
			i := int(binary.LittleEndian.Uint64(live.Fingerprint[:])) - 1
			if i < 0 || i >= 5 || live.Timestamp != 1000+int64(i) {
				t.Fatalf("%s %s at %d: invented %+v", name, what, at, live)
			}
			known[live.Fingerprint] = true
		}
		for i := range 5 {
			if !known[fingerprint(i)] && found.Floor < 1000+int64(i) {
				t.Fatalf("%s %s at %d: nonce %d could be replayed: %+v", name, what, at, i, found)
			}
		}
		if len(found.Live) < 5 && (len(found.Damage) == 0 || found.Why == "") {
			t.Fatalf("%s %s at %d: not reported: %+v", name, what, at, found)
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

func TestANonceThatCannotBeRecordedRaisesTheFloor(t *testing.T) {
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
				t.Fatal("Sync did not say that nonces are not safe")
			}
			f.set(nil, nil, nil)
			add(t, n, 3, 1002)
			if err := n.Sync(); err != nil {
				t.Fatal(err)
			}
			n.kill()
			_, found := d.nonces(t, c, 1, onDisk)
			if found.Floor < 1001 || found.Why == "" || len(found.Live) < 2 || len(found.Damage) > 0 {
				t.Fatalf("found %+v", found)
			}
		})
	}
}

func TestARequestIsRefusedWhenNotEvenTheMarkCanBeWritten(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, f.open)
	add(t, n, 1, 1000)
	f.set(unix.EIO, nil, unix.EIO)
	if err := n.Add(fingerprint(2), 1001); !errors.Is(err, unix.EIO) {
		t.Fatalf("within the horizon: %v", err)
	}
	if err := n.Add(fingerprint(2), 1100); !errors.Is(err, unix.EIO) {
		t.Fatalf("past the horizon: %v", err)
	}
	f.set(nil, nil, nil)
	add(t, n, 3, 1101)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Add(fingerprint(4), 1101); !errors.Is(err, errClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestAStartThatIsCutShortHidesNoDamage(t *testing.T) {
	d, c, f := openDir(t, t.TempDir()), &clock{1000}, &fault{}
	n, _ := d.nonces(t, c, 1, onDisk)
	add(t, n, 1, 1000)
	add(t, n, 2, 1001)
	n.kill()
	log := filepath.Join(d.path, "nonces-00.log")
	if err := os.Truncate(log, headerSize+frameSize+nonceRecord+5); err != nil {
		t.Fatal(err)
	}
	f.set(nil, nil, unix.EIO)
	_, _, err := d.openNonces(window, c.now, [16]byte{1}, f.open) // after the tail was cut off
	if !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if info, err := os.Stat(log); err != nil || info.Size() != headerSize+frameSize+nonceRecord {
		t.Fatalf("the tail is still there: %v, %v", info.Size(), err)
	}
	if _, found := d.nonces(t, c, 1, onDisk); found.Floor < 1001 {
		t.Fatalf("found %+v", found)
	}
}
