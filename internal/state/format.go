package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Layout of a segment file: a header, then records. docs/state.md has it as a table.
const (
	magic      = "dfs-log\n"
	version    = 1
	headerSize = 32
	frameSize  = 8 // length and checksum before each payload
	// maxPayload bounds one record. Most damaged lengths are above it, and recognised by that.
	maxPayload = 1 << 20
)

var (
	errForeign = errors.New(
		"it is not a state file of this program; hint: move it away and start again",
	)
	errNewer = errors.New(
		"a newer version of this program wrote it: install that version again, " +
			"or move the file away and start again, which loses what is in it",
	)
	errUnusable = errors.New("its header is damaged")
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// header opens a segment. The seed enters every checksum of the segment, so that bytes of an
// earlier use of the file, or bytes that a command put into its output, are never valid records.
type header struct {
	sequence uint64
	seed     uint32
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, h.seed)
	b = binary.LittleEndian.AppendUint64(b, h.sequence)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// decodeHeader returns errForeign for another program's file, errNewer for a newer version's, and
// errUnusable for a damaged header.
func decodeHeader(b []byte) (header, error) {
	b = b[:headerSize]
	zero := [headerSize]byte{}
	switch {
	case [headerSize]byte(b) == zero: // a crash can leave a file's length without its contents
		return header{}, errUnusable
	case string(b[:8]) != magic:
		return header{}, errForeign
	case binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli()):
		return header{}, errUnusable
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return header{}, fmt.Errorf("version %d: %w", binary.LittleEndian.Uint32(b[8:]), errNewer)
	}
	return header{
		sequence: binary.LittleEndian.Uint64(b[16:]), seed: binary.LittleEndian.Uint32(b[12:]),
	}, nil
}

// checksum covers a record's length and payload, and starts from the segment's seed.
func checksum(seed uint32, length, payload []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli(), length), castagnoli(), payload)
}

// sealFrame writes length and checksum into the first frameSize bytes; the payload follows them.
func sealFrame(seed uint32, frame []byte) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameSize))
	binary.LittleEndian.PutUint32(frame[4:], checksum(seed, frame[:4], frame[frameSize:]))
}

// payloadAt returns the payload of the record at the start of b, and whether it is complete and
// valid.
func payloadAt(b []byte, seed uint32) ([]byte, bool) {
	length, ok := lengthAt(b)
	if !ok {
		return nil, false
	}
	payload := b[frameSize : frameSize+length]
	return payload, binary.LittleEndian.Uint32(b[4:]) == checksum(seed, b[:4], payload)
}

// lengthAt returns the length of the payload, and whether it is valid and fits into b.
func lengthAt(b []byte) (int, bool) {
	if len(b) < frameSize {
		return 0, false
	}
	length := binary.LittleEndian.Uint32(b)
	return int(length), length >= 1 && length <= maxPayload && int(length) <= len(b)-frameSize
}

// gap is a damaged part of a segment between two valid records.
type gap struct{ offset, length int64 }

// scan calls visit for each valid record of a segment's contents, in order. It returns where the
// last record ends, and the gaps before that. What follows the end is the damaged tail.
func scan(
	data []byte, seed uint32, visit func(offset int64, payload []byte),
) (end int64, gaps []gap) {
	search := searcher{data: data, seed: seed, budget: maxSearch}
	end = headerSize
	for at := int64(headerSize); at < int64(len(data)); {
		payload, ok := payloadAt(data[at:], seed)
		if !ok {
			next := search.after(at)
			if next < 0 {
				return end, gaps
			}
			gaps = append(gaps, gap{at, next - at})
			at = next
			continue
		}
		visit(at, payload)
		at += int64(frameSize + len(payload))
		end = at
	}
	return end, gaps
}

// maxSearch bounds the search for valid records in one damaged file, in bytes that are summed. It
// takes about a second.
const maxSearch = 4 << 30

// searcher finds the next valid record after damage.
type searcher struct {
	data   []byte
	seed   uint32
	budget int64
}

// after returns the offset of the next valid record, or -1. It tries the place that the damaged
// record's length gives first, as the damage is rarely in the length, and then every byte.
func (s *searcher) after(damaged int64) int64 {
	if length, ok := lengthAt(s.data[damaged:]); ok {
		next := damaged + int64(frameSize+length)
		if _, ok := payloadAt(s.data[next:], s.seed); ok {
			return next
		}
	}
	for at := damaged + 1; at+frameSize < int64(len(s.data)) && s.budget > 0; at++ {
		length, ok := lengthAt(s.data[at:])
		if !ok {
			continue
		}
		s.budget -= int64(length)
		if _, ok := payloadAt(s.data[at:], s.seed); ok {
			return at
		}
	}
	return -1
}
