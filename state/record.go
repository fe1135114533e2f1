package state

import (
	"encoding/binary"
	"fmt"
	"time"
)

// maxID bounds a job's id, whose length has one byte in a record.
const maxID = 255

// kind is the first byte of each record of the delivery log. The job's id follows it, one byte of
// length before it, and then what the kind needs.
type kind byte

const (
	acceptRecord kind = iota + 1 // accepted (Unix nanoseconds), length of the URL, URL, data
	chunkRecord                  // stream, offset within it, bytes
	finishRecord                 // lengths of both streams, meta
	doneRecord                   // nothing
)

// Job is an accepted command whose caller was promised a callback.
type Job struct {
	ID       string // 1 to 255 bytes, unique among the jobs that are not done
	URL      string
	Accepted time.Time
	Data     []byte // whatever else the caller needs to report it
}

func (j Job) check() error {
	if j.ID == "" || len(j.ID) > maxID {
		return fmt.Errorf("cannot record a job: its id has %d bytes, and 1 to %d are possible", len(j.ID), maxID)
	}
	return nil
}

func head(k kind, id string) []byte {
	return append([]byte{byte(k), byte(len(id))}, id...)
}

func (j Job) encode() []byte {
	b := head(acceptRecord, j.ID)
	b = binary.LittleEndian.AppendUint64(b, uint64(j.Accepted.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(j.URL)))
	b = append(b, j.URL...)
	return append(b, j.Data...)
}

func encodeChunkHead(id string, stream int, offset int64) []byte {
	b := append(head(chunkRecord, id), byte(stream))
	return binary.LittleEndian.AppendUint64(b, uint64(offset))
}

// chunkHead is the length of what encodeChunkHead returns.
func chunkHead(id string) int { return 2 + len(id) + 1 + 8 }

func encodeFinish(id string, sizes [2]int64, meta []byte) []byte {
	b := head(finishRecord, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(sizes[0]))
	b = binary.LittleEndian.AppendUint64(b, uint64(sizes[1]))
	return append(b, meta...)
}

// reader takes fields off a payload. Once it is short, every field is zero.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(n, 8))
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint8() byte   { return r.take(1)[0] }
func (r *reader) int64() int64  { return int64(binary.LittleEndian.Uint64(r.take(8))) }
func (r *reader) uint32() int   { return int(binary.LittleEndian.Uint32(r.take(4))) }
func (r *reader) text() string  { return string(r.take(int(r.uint8()))) }
func (r *reader) bytes() []byte { b := r.rest; r.rest = nil; return b }

// entry is a decoded record of the delivery log.
type entry struct {
	kind   kind
	id     string
	job    Job    // acceptRecord
	stream int    // chunkRecord
	offset int64  // chunkRecord
	bytes  []byte // chunkRecord, of the payload itself
	sizes  [2]int64
	meta   []byte // finishRecord, of the payload itself
}

// decode returns false for a record that this version does not write.
func decode(payload []byte) (entry, bool) {
	r := reader{rest: payload}
	e := entry{kind: kind(r.uint8())}
	e.id = r.text()
	switch e.kind {
	case acceptRecord:
		e.job = Job{ID: e.id, Accepted: time.Unix(0, r.int64())}
		e.job.URL = string(r.take(r.uint32()))
		e.job.Data = append([]byte(nil), r.bytes()...)
	case chunkRecord:
		e.stream, e.offset = int(r.uint8()), r.int64()
		e.bytes = r.bytes()
	case finishRecord:
		e.sizes = [2]int64{r.int64(), r.int64()}
		e.meta = r.bytes()
	case doneRecord:
	default:
		return entry{}, false
	}
	sound := e.id != "" && e.stream <= 1 && e.offset >= 0 && e.sizes[0] >= 0 && e.sizes[1] >= 0
	return e, sound && !r.short
}
