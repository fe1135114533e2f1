package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is in testdata/VERSION was written by a release with that version of the format. Each of them
// must be read by every later release. SIDECAR_WRITE_STATE=1 writes the one of the present version,
// which is right only when the version has just been raised.
func golden(version int) string { return filepath.Join("testdata", fmt.Sprint(version)) }

func writeGolden(t *testing.T) {
	t.Helper()
	path := t.TempDir()
	d := openDir(t, path)
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	add(t, n, 1, 1000)
	add(t, n, 2, 1001)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	l, _ := d.deliveries(t, onDisk)
	for _, id := range []string{"cut-off", "finished", "delivered"} {
		accept(t, l, id)
	}
	finish(t, l, "finished", "out", "err")
	if err := l.Done("delivered"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	contents := files(t, path)
	delete(contents, "lock")
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	lay(t, golden(version), contents)
}

func placeGolden(t *testing.T, version int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	lay(t, path, files(t, golden(version)))
	return path
}

func TestStateOfEveryVersionIsRead(t *testing.T) {
	if os.Getenv("SIDECAR_WRITE_STATE") == "1" {
		writeGolden(t)
	}
	for v := 1; v <= version; v++ {
		d := openDir(t, placeGolden(t, v))
		n, nonces := d.nonces(t, &clock{1002}, 1, onDisk)
		live := []Nonce{{fingerprint(1), 1000}, {fingerprint(2), 1001}}
		if fmt.Sprint(nonces.Live) != fmt.Sprint(live) || nonces.Floor != 0 || nonces.Why != "" || len(nonces.Damage) > 0 {
			t.Errorf("version %d: %+v", v, nonces)
		}
		l, jobs := d.deliveries(t, onDisk)
		want := []Pending{{someJob("cut-off"), Interrupted}, {someJob("finished"), Finished}}
		if fmt.Sprint(jobs.Pending) != fmt.Sprint(want) || len(jobs.Damage) > 0 || len(jobs.Lost) > 0 {
			t.Errorf("version %d: %+v", v, jobs)
		}
		checkResult(t, l, "finished", "out", "err")
		_ = errors.Join(n.Close(), l.Close())
	}
}

// Whoever changes what is written must raise the version: an earlier release would misread it.
func TestWhatIsWrittenIsThePresentVersion(t *testing.T) {
	there := files(t, golden(version))
	if len(there) != 3 {
		t.Fatalf("%s holds %d files", golden(version), len(there))
	}
	out, err := encodeChunkHead("finished", 0, 0), encodeChunkHead("finished", 1, 0)
	want := map[string][][]byte{
		"nonces-00.log": {nonce(1, 1000), nonce(2, 1001)},
		"deliveries-00.log": {
			someJob("cut-off").encode(), someJob("finished").encode(), someJob("delivered").encode(),
			append(out, "out"...), append(err, "err"...), encodeFinish("finished", [2]int64{3, 3}, []byte("meta of finished")), head(doneRecord, "delivered"),
		},
	}
	for name, payloads := range want {
		h := header{sequence: 1, seed: binary.LittleEndian.Uint32(there[name][12:])}
		file := h.encode()
		for _, payload := range payloads {
			frame := append(make([]byte, frameSize), payload...)
			seal(h.seed, frame)
			file = append(file, frame...)
		}
		if !bytes.Equal(file, there[name]) {
			t.Errorf("%s of version %d is\n%q\nand is now written as\n%q", name, version, there[name], file)
		}
	}
	m, failed := decodeMark(there["nonces.mark"][:markSize])
	if failed != nil || !bytes.HasPrefix(there["nonces.mark"], m.encode()) {
		t.Errorf("the mark of version %d is\n%q, %v\nand is now written as\n%q", version, there["nonces.mark"][:markSize], failed, m.encode())
	}
}

func nonce(i int, timestamp uint64) []byte {
	f := fingerprint(i)
	return binary.LittleEndian.AppendUint64(f[:], timestamp)
}

// A later version's file is neither misread nor repaired nor set aside, and the other files are as
// they were when that version is back.
func TestStateOfALaterVersionIsRefusedAndLeftAlone(t *testing.T) {
	for name, at := range map[string]struct{ start, sum int }{
		"nonces-00.log": {0, 28}, "nonces-07.log": {0, 28}, "deliveries-00.log": {0, 28}, "deliveries-31.log": {0, 28},
		"nonces.mark": {0, 72}, "nonces.mark, second copy": {markPage, 72},
	} {
		path := placeGolden(t, version)
		file, _, _ := strings.Cut(name, ",")
		data := files(t, path)[file]
		if len(data) == 0 {
			data = header{sequence: 9}.encode()
		}
		part := data[at.start:]
		binary.LittleEndian.PutUint32(part[8:], version+1)
		binary.LittleEndian.PutUint32(part[at.sum:], crc32.Checksum(part[:at.sum], castagnoli()))
		if err := os.WriteFile(filepath.Join(path, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		before := files(t, path)
		_, err := OpenDir(path)
		if !errors.Is(err, errNewer) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), fmt.Sprintf("version %d", version+1)) {
			t.Errorf("%s: %v", name, err)
		}
		after := files(t, path)
		delete(after, "lock")
		if !maps.EqualFunc(before, after, bytes.Equal) {
			t.Errorf("%s: the files have changed", name)
		}
		checkRefusedLate(t, name, path)
	}
}

// checkRefusedLate opens the files as if the look beforehand had not been: they know by themselves.
func checkRefusedLate(t *testing.T, name, path string) {
	t.Helper()
	d := &Dir{path: path}
	n, _, err := d.openNonces(window, func() time.Time { return time.Unix(1002, 0) }, [16]byte{1}, onDisk)
	if err == nil {
		n.kill()
		_, _, err = d.openDeliveries(MinCapacity, 0, onDisk)
	}
	if !errors.Is(err, errNewer) {
		t.Errorf("%s: opened late: %v", name, err)
	}
}
