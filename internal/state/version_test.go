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

// What is in testdata/VERSION was written by a release with that version of the format. Each of
// them must be read by every later release. SIDECAR_WRITE_STATE=1 writes the one of the present
// version, which is right only when the version has just been raised.
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

func TestVersion_EarlierStateIsRead(t *testing.T) {
	if os.Getenv("SIDECAR_WRITE_STATE") == "1" {
		writeGolden(t)
	}
	for v := 1; v <= version; v++ {
		d := openDir(t, placeGolden(t, v))
		n, nonces := d.nonces(t, &clock{1002}, 1, onDisk)
		live := []Nonce{{fingerprint(1), 1000}, {fingerprint(2), 1001}}
		if fmt.Sprint(nonces.Live) != fmt.Sprint(live) || nonces.Floor != 0 || nonces.Why != "" ||
			len(nonces.Damage) > 0 {
			t.Errorf("version %d: got %+v, want live %v alone", v, nonces, live)
		}
		l, jobs := d.deliveries(t, onDisk)
		want := []Pending{{someJob("cut-off"), Interrupted}, {someJob("finished"), Finished}}
		if fmt.Sprint(jobs.Pending) != fmt.Sprint(want) || len(jobs.Damage) > 0 ||
			len(jobs.Lost) > 0 {
			t.Errorf("version %d: got %+v, want %+v", v, jobs, want)
		}
		checkResult(t, l, "finished", "out", "err")
		_ = errors.Join(n.Close(), l.Close())
	}
}

// A change of these bytes must raise the version: an earlier release would misread them.
func TestVersion_BytesAreThePresentFormat(t *testing.T) {
	there := files(t, golden(version))
	if len(there) != 3 {
		t.Fatalf("got %d files in %s, want 3", len(there), golden(version))
	}
	out, err := encodeChunkHead("finished", 0, 0), encodeChunkHead("finished", 1, 0)
	want := map[string][][]byte{
		"nonces-00.log": {nonce(1, 1000), nonce(2, 1001)},
		"deliveries-00.log": {
			someJob(
				"cut-off",
			).encode(),
			someJob("finished").encode(),
			someJob("delivered").encode(),
			append(
				out,
				"out"...),
			append(err, "err"...),
			encodeFinish("finished", [2]int64{3, 3}, []byte("meta of finished")),
			head(doneRecord, "delivered"),
		},
	}
	for name, payloads := range want {
		h := header{sequence: 1, seed: binary.LittleEndian.Uint32(there[name][12:])}
		file := h.encode()
		for _, payload := range payloads {
			frame := append(make([]byte, frameSize), payload...)
			sealFrame(h.seed, frame)
			file = append(file, frame...)
		}
		if !bytes.Equal(file, there[name]) {
			t.Errorf("%s of version %d: got\n%q\nwant\n%q", name, version, file, there[name])
		}
	}
	m, failed := decodeMark(there["nonces.mark"][:markSize])
	if failed != nil || !bytes.HasPrefix(there["nonces.mark"], m.encode()) {
		t.Errorf(
			"the mark of version %d: got\n%q\nwant\n%q, %v", version, m.encode(),
			there["nonces.mark"][:markSize], failed,
		)
	}
}

// Kept jobs came later, without a higher version: the first release skips their records.
func TestVersion_KeptJobsAreReadAndSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	keep := Promise{
		ID: "kept", Accepted: time.Unix(1000, 5), Data: []byte("data of kept"), Keep: true,
	}
	both := someJob("both")
	out := append(encodeChunkHead("both", 0, 0), "out"...)
	meta := []byte("meta of both")
	h := header{sequence: 1, seed: 7}
	file := h.encode()
	for _, payload := range [][]byte{
		append([]byte("\x05\x04kept\x05\x10\xa5\xd4\xe8\x00\x00\x00\x00\x00\x00\x00"), keep.Data...),
		both.encode(), out, encodeFinish("both", [2]int64{3, 0}, meta), []byte("\x04\x04both\x01"),
	} {
		frame := append(make([]byte, frameSize), payload...)
		sealFrame(h.seed, frame)
		file = append(file, frame...)
	}
	if got := keep.encode(); !bytes.Contains(file, got) {
		t.Errorf("a keep record: got %q, want the one in the file", got)
	}
	if got := encodeDone("both", true); !bytes.Contains(file, got) {
		t.Errorf("a settled callback: got %q, want the record in the file", got)
	}
	lay(t, path, map[string][]byte{"deliveries-00.log": file})
	l, found := openDir(t, path).deliveries(t, onDisk)
	both.URL, both.Keep = "", true
	want := []Pending{{keep, Interrupted}, {both, Finished}}
	if fmt.Sprint(found.Pending) != fmt.Sprint(want) || len(found.Damage) > 0 {
		t.Errorf("got %+v, want %+v", found, want)
	}
	checkResult(t, l, "both", "out", "")
}

func nonce(i int, timestamp uint64) []byte {
	f := fingerprint(i)
	return binary.LittleEndian.AppendUint64(f[:], timestamp)
}

// A later version's file is neither misread nor repaired nor set aside, and the other files are as
// they were when that version is back.
func TestVersion_NewerStateIsRefusedUntouched(t *testing.T) {
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
		if !errors.Is(err, errNewer) || !strings.Contains(err.Error(), file) ||
			!strings.Contains(err.Error(), fmt.Sprintf("version %d", version+1)) {
			t.Errorf("%s: got %v, want %v with file and version", name, err, errNewer)
		}
		after := files(t, path)
		delete(after, "lock")
		if !maps.EqualFunc(before, after, bytes.Equal) {
			t.Errorf("%s: got changed files, want them untouched", name)
		}
		checkRefusedLate(t, name, path)
	}
}

// checkRefusedLate opens the files as if the look beforehand had not been: they know by themselves.
func checkRefusedLate(t *testing.T, name, path string) {
	t.Helper()
	d := &Dir{path: path, files: map[string]*os.File{}}
	n, _, err := d.openNonces(
		window, func() time.Time { return time.Unix(1002, 0) }, [16]byte{1}, onDisk,
	)
	if err == nil {
		n.kill()
		_, _, err = d.openDeliveries(MinCapacity, 0, onDisk)
	}
	if !errors.Is(err, errNewer) {
		t.Errorf("%s: opened without the check before: got %v, want %v", name, err, errNewer)
	}
}
