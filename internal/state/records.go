package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// maxID bounds a job's id, whose length has one byte in a record.
const maxID = 255

// kind is the first byte of each record of the delivery log. The length of the job's id (one byte),
// the id, and the fields of the kind follow it.
type kind byte

const (
	acceptRecord kind = iota + 1 // acceptance (Unix ns), length of the URL, URL, data
	chunkRecord                  // stream, offset in the stream, bytes
	finishRecord                 // lengths of both streams, meta
	doneRecord                   // nothing, or the byte settled
	// keepRecord is an accept of a job without a callback, or whose callback is settled. The first
	// release skips it, and so forgets the job, as it forgot all jobs at a restart.
	keepRecord
)

// settled in a done record means that only the callback is settled, and that the job stays. The
// first release does not look at it: it ends the job, of which it knows no more than its callback.
const settled = 1

// Promise is an accepted job that owes a callback, or whose result is kept, or both.
type Promise struct {
	ID       string // 1 to 255 bytes, unique among the jobs in the ledger
	URL      string // of the callback that is owed; empty: none
	Accepted time.Time
	Data     []byte // opaque; the caller needs it to report the job
	// Keep keeps the job until Forget. It is not recorded where a callback is owed: the data should
	// say so, and Deliveries.Keep restores it.
	Keep bool
}

func (j Promise) validate() error {
	switch {
	case j.ID == "" || len(j.ID) > maxID:
		return fmt.Errorf("cannot record a job: its id has %d bytes, not 1 to %d", len(j.ID), maxID)
	case j.URL == "" && !j.Keep:
		return fmt.Errorf("cannot record job %s: it neither owes a callback nor is kept", j.ID)
	}
	return nil
}

func head(k kind, id string) []byte {
	return append([]byte{byte(k), byte(len(id))}, id...)
}

func (j Promise) encode() []byte {
	k := acceptRecord
	if j.URL == "" {
		k = keepRecord
	}
	b := head(k, j.ID)
	b = binary.LittleEndian.AppendUint64(b, uint64(j.Accepted.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(j.URL)))
	b = append(b, j.URL...)
	return append(b, j.Data...)
}

// encodeDone is the end of a job, or of its callback only.
func encodeDone(id string, callbackOnly bool) []byte {
	if callbackOnly {
		return append(head(doneRecord, id), settled)
	}
	return head(doneRecord, id)
}

func encodeChunkHead(id string, stream int, offset int64) []byte {
	b := append(head(chunkRecord, id), byte(stream))
	return binary.LittleEndian.AppendUint64(b, uint64(offset))
}

// chunkHeadSize is the length of encodeChunkHead's result.
func chunkHeadSize(id string) int { return 2 + len(id) + 1 + 8 }

func encodeFinish(id string, sizes [2]int64, meta []byte) []byte {
	b := head(finishRecord, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(sizes[0]))
	b = binary.LittleEndian.AppendUint64(b, uint64(sizes[1]))
	return append(b, meta...)
}

// reader decodes the fields of a payload in turn. Once the payload is too short, every field is
// zero.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) next(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(n, 8))
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint8() byte   { return r.next(1)[0] }
func (r *reader) int64() int64  { return int64(binary.LittleEndian.Uint64(r.next(8))) }
func (r *reader) uint32() int   { return int(binary.LittleEndian.Uint32(r.next(4))) }
func (r *reader) text() string  { return string(r.next(int(r.uint8()))) }
func (r *reader) bytes() []byte { b := r.rest; r.rest = nil; return b }

// entry is a decoded record of the delivery log.
type entry struct {
	kind   kind
	id     string
	job    Promise // acceptRecord, keepRecord
	stream int     // chunkRecord
	offset int64   // chunkRecord
	bytes  []byte  // chunkRecord, of the payload itself
	sizes  [2]int64
	meta   []byte // finishRecord, of the payload itself
	stays  bool   // doneRecord: only the callback is settled
}

// decode returns false for a record that is malformed or of an unknown kind.
func decode(payload []byte) (entry, bool) {
	r := reader{rest: payload}
	e := entry{kind: kind(r.uint8())}
	e.id = r.text()
	switch e.kind {
	case acceptRecord, keepRecord:
		e.job = Promise{ID: e.id, Accepted: time.Unix(0, r.int64()), Keep: e.kind == keepRecord}
		e.job.URL = string(r.next(r.uint32()))
		e.job.Data = append([]byte(nil), r.bytes()...)
		if e.job.Keep {
			e.job.URL = "" // of a callback that is settled
		}
	case chunkRecord:
		e.stream, e.offset = int(r.uint8()), r.int64()
		e.bytes = r.bytes()
	case finishRecord:
		e.sizes = [2]int64{r.int64(), r.int64()}
		e.meta = r.bytes()
	case doneRecord:
		e.stays = bytes.Equal(r.bytes(), []byte{settled})
	default:
		return entry{}, false
	}
	valid := e.id != "" && e.stream <= 1 && e.offset >= 0 && e.sizes[0] >= 0 && e.sizes[1] >= 0
	return e, valid && !r.short
}
