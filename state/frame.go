package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The layout of a segment file; STATE.md has it as a table.
const (
	magic      = "dfs-log\n"
	version    = 1
	headerSize = 32
	frameSize  = 8
	// maxPayload bounds one record, so that a damaged length is mostly recognised as one.
	maxPayload = 1 << 20
)

var (
	errForeign  = errors.New("it is not a state file of this program: move it away and start again")
	errNewer    = errors.New("a newer version of this program wrote it: install that version again, or move the file away and start again, which loses what is in it")
	errUnusable = errors.New("its header is damaged")
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// header opens a segment. The seed enters every checksum of the segment, so that bytes left from an
// earlier use of the file, or written into an output on purpose, never pass for records.
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

// decodeHeader tells four cases apart: ours, another program's, a newer version's, and damaged.
func decodeHeader(b []byte) (header, error) {
	b = b[:headerSize]
	zero := [headerSize]byte{}
	switch {
	case [headerSize]byte(b) == zero: // a crash may leave a file's length without its contents
		return header{}, errUnusable
	case string(b[:8]) != magic:
		return header{}, errForeign
	case binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli()):
		return header{}, errUnusable
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return header{}, fmt.Errorf("version %d: %w", binary.LittleEndian.Uint32(b[8:]), errNewer)
	}
	return header{sequence: binary.LittleEndian.Uint64(b[16:]), seed: binary.LittleEndian.Uint32(b[12:])}, nil
}

// sum is a record's checksum: over its length and its payload, from the segment's seed on.
func sum(seed uint32, length, payload []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli(), length), castagnoli(), payload)
}

// seal completes a frame whose payload follows its first frameSize bytes.
func seal(seed uint32, frame []byte) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameSize))
	binary.LittleEndian.PutUint32(frame[4:], sum(seed, frame[:4], frame[frameSize:]))
}

// payloadAt returns the payload of the record at the start of b, if there is a whole and valid one.
func payloadAt(b []byte, seed uint32) ([]byte, bool) {
	length, ok := lengthAt(b)
	if !ok {
		return nil, false
	}
	payload := b[frameSize : frameSize+length]
	return payload, binary.LittleEndian.Uint32(b[4:]) == sum(seed, b[:4], payload)
}

// lengthAt is the payload's length, if one of that length fits into b.
func lengthAt(b []byte) (int, bool) {
	if len(b) < frameSize {
		return 0, false
	}
	length := binary.LittleEndian.Uint32(b)
	return int(length), length >= 1 && length <= maxPayload && int(length) <= len(b)-frameSize
}
