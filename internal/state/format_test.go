package state

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// segmentOf is a segment file with the given records, and where each of them starts.
func segmentOf(payloads ...[]byte) (data []byte, starts []int64) {
	h := header{sequence: 7, seed: 0xfeedc0de}
	data = h.encode()
	for _, p := range payloads {
		starts = append(starts, int64(len(data)))
		frame := append(make([]byte, frameSize), p...)
		sealFrame(h.seed, frame)
		data = append(data, frame...)
	}
	return data, starts
}

func somePayloads() [][]byte {
	return [][]byte{
		[]byte("a"), []byte("the second"), bytes.Repeat([]byte{0}, 40), []byte("four"),
		bytes.Repeat([]byte{255, 1, 0, 0, 0}, 9),
	}
}

func scanned(data []byte) (payloads [][]byte, end int64, gaps []gap) {
	end, gaps = scan(
		data, 0xfeedc0de, func(_ int64, p []byte) { payloads = append(payloads, bytes.Clone(p)) },
	)
	return payloads, end, gaps
}

// Case 39.
func TestScan_CutAtEveryByte(t *testing.T) {
	want := somePayloads()
	data, starts := segmentOf(want...)
	for cut := headerSize; cut <= len(data); cut++ {
		whole := 0
		for whole < len(want) && starts[whole]+frameSize+int64(len(want[whole])) <= int64(cut) {
			whole++
		}
		got, end, gaps := scanned(data[:cut])
		if !slices.EqualFunc(got, want[:whole], bytes.Equal) || len(gaps) > 0 {
			t.Fatalf("cut at %d: got %q, gaps %v, want %q and none", cut, got, gaps, want[:whole])
		}
		if whole < len(want) && end != starts[whole] {
			t.Fatalf("cut at %d: got end %d, want %d", cut, end, starts[whole])
		}
	}
}

// Case 39.
func TestScan_EveryByteFlipped(t *testing.T) {
	want := somePayloads()
	data, starts := segmentOf(want...)
	for at := headerSize; at < len(data); at++ {
		for _, mask := range []byte{1, 0x80, 0xff} {
			damaged := bytes.Clone(data)
			damaged[at] ^= mask
			hit := len(starts) - 1
			for starts[hit] > int64(at) {
				hit--
			}
			got, end, gaps := scanned(damaged)
			left := slices.Delete(slices.Clone(want), hit, hit+1)
			if !slices.EqualFunc(got, left, bytes.Equal) {
				t.Fatalf("byte %d flipped by %#x: got %q, want %q", at, mask, got, left)
			}
			if last := hit == len(
				want,
			)-1; last != (end < int64(len(data))) ||
				last != (len(gaps) == 0) {
				t.Fatalf(
					"byte %d flipped by %#x: got end %d, gaps %v, want a gap, or a tail for "+
						"the last record",
					at, mask, end, gaps,
				)
			}
		}
	}
}

func TestHeader_EveryBitFlipped(t *testing.T) {
	good := header{sequence: 3, seed: 9}.encode()
	for at := range good {
		for bit := range 8 {
			damaged := bytes.Clone(good)
			damaged[at] ^= 1 << bit
			want := errUnusable
			if at < 8 {
				want = errForeign
			}
			if _, err := decodeHeader(damaged); !errors.Is(err, want) {
				t.Fatalf("byte %d flipped: %v, want %v", at, err, want)
			}
		}
	}
}

func TestScan_EarlierUseOfTheFileIsIgnored(t *testing.T) {
	data, starts := segmentOf(somePayloads()...)
	fresh := header{sequence: 8, seed: 1}
	copy(data, fresh.encode())
	end, gaps := scan(
		data, fresh.seed,
		func(int64, []byte) { t.Fatal("got a record of the earlier use, want none") },
	)
	if end != starts[0] || len(gaps) != 0 {
		t.Fatalf("got end %d, gaps %v, want %d and none", end, gaps, starts[0])
	}
}

func TestScan_SearchIsBounded(t *testing.T) {
	// Every fourth byte looks like a length that fits.
	data := append(header{seed: 1}.encode(), bytes.Repeat([]byte{0, 0, 8, 0}, 512<<10)...)
	search := searcher{data: data, seed: 1, budget: 64 << 20}
	if next := search.after(headerSize); next != -1 || search.budget > 0 {
		t.Fatalf("got %d with a budget of %d left, want -1 and none", next, search.budget)
	}
}

// FuzzScan proves on any bytes: no panic, only records whose checksum holds, in order, and all
// bytes accounted for.
func FuzzScan(f *testing.F) {
	data, _ := segmentOf(somePayloads()...)
	f.Add(data, uint32(0xfeedc0de))
	f.Add(data[:50], uint32(0xfeedc0de))
	f.Add(append(bytes.Clone(data[:60]), data[50:]...), uint32(0xfeedc0de))
	f.Add(header{}.encode(), uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, seed uint32) {
		if len(data) < headerSize {
			return
		}
		_, _ = decodeHeader(data)
		covered, last := int64(headerSize), int64(0)
		end, gaps := scan(data, seed, func(offset int64, p []byte) {
			if offset <= last {
				t.Fatalf("got a record at %d after one at %d, want rising offsets", offset, last)
			}
			if again, ok := payloadAt(data[offset:], seed); !ok || !bytes.Equal(again, p) {
				t.Fatalf("got a record at %d that is not in the data", offset)
			}
			last = offset
			covered += frameSize + int64(len(p))
			_, _ = decode(p)
		})
		for _, g := range gaps {
			covered += g.length
		}
		if covered != end || end > int64(len(data)) {
			t.Fatalf(
				"got %d bytes in records and gaps, want the end, %d of %d", covered, end, len(data),
			)
		}
	})
}

// FuzzDecode proves that no record's contents cause a panic, and that what is accepted is in
// bounds.
func FuzzDecode(f *testing.F) {
	f.Add(Promise{ID: "x", URL: "http://h/", Data: []byte("d")}.encode())
	f.Add(encodeFinish("x", [2]int64{1, 2}, []byte("m")))
	f.Add(append(encodeChunkHead("x", 1, 5), "bytes"...))
	f.Add(head(doneRecord, "x"))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, ok := decode(p)
		if ok && (e.id == "" || e.stream > 1 || e.offset < 0 || e.sizes[0] < 0 || e.sizes[1] < 0) {
			t.Fatalf("got %+v, want no such record", e)
		}
		_, _ = decodeMark(p)
	})
}

func TestRecord_RoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		id := fmt.Sprintf("%0*x", 1+rng.IntN(maxID), rng.Uint64())
		sizes := [2]int64{rng.Int64(), rng.Int64()}
		e, ok := decode(encodeFinish(id, sizes, []byte(id)))
		if !ok || e.id != id || e.sizes != sizes || string(e.meta) != id {
			t.Fatalf("got %+v, want id %q, sizes %v", e, id, sizes)
		}
	}
}

// The largest file that a ledger of MaxCapacity writes is read again at the next start.
func TestReadHeader_LargestFile(t *testing.T) {
	f, err := os.Create(filepath.Join(memoryDir(t), "large.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	written := header{sequence: 1, seed: 2}
	if _, err := f.Write(written.encode()); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int64]error{MaxCapacity / deliveryFiles: nil, MaxCapacity/deliveryFiles + 1: errForeign} {
		if err := f.Truncate(size); err != nil { // sparse
			t.Fatal(err)
		}
		if got, h, err := readHeader(f); got != size || !errors.Is(err, want) || err == nil && h != written {
			t.Errorf("%d bytes: got %d, %+v and %v, want %+v and %v", size, got, h, err, written, want)
		}
	}
}
