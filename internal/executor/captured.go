package executor

import (
	"bytes"
	"fmt"
	"io"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/state"
)

// wholeParts are the parts of an output of which nothing is missing.
func wholeParts(from io.WriterTo, size int64) exec.Parts {
	return exec.Parts{Start: from, End: noBytes(), StartSize: size}
}

func noBytes() io.WriterTo { return bytesPart(nil) }

// extentOf is the Extent of an output with these parts.
func extentOf(p exec.Parts) (start, end, total int64) {
	return p.StartSize, p.EndSize, p.StartSize + p.Missing + p.EndSize
}

// readParts is ReadAt for an output whose parts are read by from, which has the offset in the part.
func readParts(
	p exec.Parts, to []byte, offset int64, from func(to []byte, end bool, at int64) (int, error),
) (n int, err error) {
	start, end, total := extentOf(p)
	if offset < start {
		n, err = from(to[:min(int64(len(to)), start-offset)], false, offset)
		if err != nil {
			return n, err
		}
	}
	if at := offset + int64(n) - (total - end); n < len(to) && at >= 0 && at < end {
		most := min(int64(len(to)-n), end-at)
		copied, err := from(to[n:int64(n)+most], true, at)
		if n += copied; err != nil {
			return n, err
		}
	}
	switch {
	case n == len(to):
		return n, nil
	case offset+int64(n) >= total:
		return n, io.EOF
	}
	return n, fmt.Errorf("cannot read an output at %d: %w", offset+int64(n), exec.ErrNotKept)
}

// bytesPart is a part of an output in memory.
type bytesPart []byte

func (b bytesPart) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

// bytesOutput is output in memory that is no exec.Output: of a handover, shortened, or our own.
type bytesOutput struct {
	start, end []byte
	missing    int64 // bytes between the two
	truncated  bool
}

func textOutput(text string) bytesOutput { return bytesOutput{start: []byte(text)} }

func (o bytesOutput) Kept() int64     { return int64(len(o.start) + len(o.end)) }
func (o bytesOutput) Truncated() bool { return o.truncated }

func (o bytesOutput) Parts() exec.Parts {
	return exec.Parts{
		Start: bytesPart(o.start), End: bytesPart(o.end), StartSize: int64(len(o.start)),
		EndSize: int64(len(o.end)), Missing: o.missing,
	}
}

func (o bytesOutput) Extent() (start, end, total int64) { return extentOf(o.Parts()) }

func (o bytesOutput) ReadAt(p []byte, offset int64) (int, error) {
	return readParts(o.Parts(), p, offset, func(to []byte, end bool, at int64) (int, error) {
		if end {
			return bytes.NewReader(o.end).ReadAt(to, at)
		}
		return bytes.NewReader(o.start).ReadAt(to, at)
	})
}

// storedOutput is output on disk: the start, and if an end is kept a line in the place of the bytes
// that are missing, and the end. A release that does not know ends reads it as one text.
type storedOutput struct {
	stored       *state.Stored
	truncated    bool
	missing, end int64 // bytes; end is 0 if no end is kept
}

func (o storedOutput) Kept() int64     { return 0 } // none in memory
func (o storedOutput) Truncated() bool { return o.truncated }

func (o storedOutput) Parts() exec.Parts {
	size := o.stored.Size()
	start := size - o.end - int64(len(missingLine(o.missing)))
	if o.end <= 0 || o.missing <= 0 || start < 0 { // less than 0: the record is not ours
		p := wholeParts(storedPart{o.stored, 0, size}, size)
		p.Missing = max(0, o.missing)
		return p
	}
	return exec.Parts{
		Start: storedPart{o.stored, 0, start}, StartSize: start, Missing: o.missing,
		End: storedPart{o.stored, size - o.end, size}, EndSize: o.end,
	}
}

func (o storedOutput) Extent() (start, end, total int64) { return extentOf(o.Parts()) }

func (o storedOutput) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("cannot read an output at %d: the offset is negative", offset)
	}
	return readParts(o.Parts(), p, offset, func(to []byte, end bool, at int64) (int, error) {
		if end {
			at += o.stored.Size() - o.end
		}
		return o.stored.ReadAt(to, at)
	})
}

// check returns an error if the bytes that are kept at or after an offset cannot be read.
func (o storedOutput) check(offset int64) error {
	p := o.Parts()
	size, inEnd := o.stored.Size(), offset-p.StartSize-p.Missing
	_, err := sequence{
		storedPart{o.stored, min(offset, p.StartSize), p.StartSize},
		storedPart{o.stored, size - p.EndSize + min(max(inEnd, 0), p.EndSize), size},
	}.WriteTo(io.Discard)
	return err
}

// storedPart are the bytes of an output on disk between two offsets.
type storedPart struct {
	stored   *state.Stored
	from, to int64
}

func (p storedPart) WriteTo(w io.Writer) (written int64, err error) {
	for chunk, err := range p.stored.Range(p.from, p.to) {
		if err != nil {
			return written, err
		}
		n, err := w.Write(chunk)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// storedForm is an output as storedOutput reads it.
func storedForm(o capturedOutput) (form state.Output, missing, end int64) {
	p := o.Parts()
	if p.EndSize == 0 {
		return state.Output{Size: p.StartSize, Data: p.Start}, p.Missing, 0
	}
	line := bytesPart(missingLine(p.Missing))
	return state.Output{
		Size: p.StartSize + int64(len(line)) + p.EndSize,
		Data: sequence{p.Start, line, p.End},
	}, p.Missing, p.EndSize
}

// sequence writes parts one after another.
type sequence []io.WriterTo

func (s sequence) WriteTo(w io.Writer) (written int64, err error) {
	for _, part := range s {
		n, err := part.WriteTo(w)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
