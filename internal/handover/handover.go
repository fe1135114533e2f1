// Package handover is the file in which a daemon tells its successor, the same process after an
// execve, what it knows: one JSON document, the bytes that it refers to, and the descriptors that
// stay open over the execve.
//
// The file is a memfd that exists in memory alone and is sealed: the reader can trust that it
// changes no more. It holds keys and output; both programs keep it close-on-exec except during the
// one execve, so no command ever has it.
//
// Layout: the blobs, the document, and a trailer of 32 bytes: magic (16), version (4), zero (4),
// length of the document (8), big endian.
//
// A release may add fields to the document: unknown fields are ignored, and missing ones are zero.
// Any other change needs a new Version.
package handover

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Version is the version of the document that this program writes and reads.
const Version = 1

const (
	magic       = "sidecar handover"
	trailerSize = 32
	maxDocument = 1 << 30
	seals       = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
)

// ErrVersion means that the file is of a version that this program does not understand.
var ErrVersion = errors.New("this program does not understand the handover of the other release")

// Blob is the place of bytes in the file.
type Blob struct{ Offset, Size int64 }

// Writer writes the file of one handover. It is for one goroutine.
type Writer struct {
	file        *os.File
	buffer      *bufio.Writer
	size        int64
	descriptors []int
	failed      error
}

// NewWriter makes an empty file.
func NewWriter() (*Writer, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// The kernel may permit no file that can be executed (vm.memfd_noexec); before Linux 6.3 it
	// does not know the flag.
	fd, err := unix.MemfdCreate("handover", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("handover", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the memory file of the handover: %w", err)
	}
	file := os.NewFile(uintptr(fd), "handover")
	return &Writer{file: file, buffer: bufio.NewWriterSize(file, 1<<20)}, nil
}

// Close frees the file. It stays in memory while another descriptor has it open.
func (w *Writer) Close() error { return w.file.Close() }

// Add writes the bytes of from to the file. After an error, so do all later calls and Finish.
func (w *Writer) Add(from io.WriterTo) Blob {
	start := w.size
	n, err := from.WriteTo(w.buffer)
	w.size += n
	w.fail(err)
	return Blob{start, n}
}

// AddBytes writes bytes to the file, as Add does.
func (w *Writer) AddBytes(p []byte) Blob {
	n, err := w.buffer.Write(p)
	w.fail(err)
	w.size += int64(n)
	return Blob{w.size - int64(n), int64(n)}
}

// Keep notes that fd stays open over the execve under its number, which it returns. It must be
// close-on-exec until then: the caller of Descriptors clears that flag last of all.
func (w *Writer) Keep(fd int) int {
	w.descriptors = append(w.descriptors, fd)
	return fd
}

// Descriptors are all that were kept.
func (w *Writer) Descriptors() []int { return w.descriptors }

func (w *Writer) fail(err error) {
	if w.failed == nil && err != nil {
		w.failed = fmt.Errorf("cannot write the handover: %w", err)
	}
}

// Finish writes the document and seals the file, which stays the writer's: Close closes it.
func (w *Writer) Finish(document any) (*os.File, error) {
	text, err := json.Marshal(document)
	w.fail(err)
	w.AddBytes(text)
	var trailer [trailerSize]byte
	copy(trailer[:16], magic)
	binary.BigEndian.PutUint32(trailer[16:], Version)
	binary.BigEndian.PutUint64(trailer[24:], uint64(len(text)))
	w.AddBytes(trailer[:])
	w.fail(w.buffer.Flush())
	if w.failed == nil {
		_, err = unix.FcntlInt(w.file.Fd(), unix.F_ADD_SEALS, seals)
		w.fail(err)
	}
	return w.file, w.failed
}

// Reader reads the file of a handover.
type Reader struct {
	file *os.File
	size int64 // of the blobs
	text []byte
}

// NewReader checks that file is sealed and of this Version. It returns ErrVersion if it is of
// another one. The reader does not close the file.
func NewReader(file *os.File) (*Reader, error) {
	have, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || have&seals != seals {
		return nil, errors.New("cannot take over: the descriptor is no sealed memory file; " +
			"this start is for the daemon itself only")
	}
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	var trailer [trailerSize]byte
	end := info.Size() - trailerSize
	if _, err := file.ReadAt(trailer[:], end); err != nil || string(trailer[:16]) != magic {
		return nil, errors.New("cannot read the handover: its end is missing")
	}
	if version := binary.BigEndian.Uint32(trailer[16:]); version != Version {
		return nil, fmt.Errorf("%w: version %d, not %d", ErrVersion, version, Version)
	}
	length := binary.BigEndian.Uint64(trailer[24:])
	if length > maxDocument || int64(length) > end {
		return nil, errors.New("cannot read the handover: its document is larger than the file")
	}
	r := &Reader{file: file, size: end - int64(length), text: make([]byte, length)}
	if _, err := file.ReadAt(r.text, r.size); err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	return r, nil
}

// Document decodes the document.
func (r *Reader) Document(into any) error {
	if err := json.Unmarshal(r.text, into); err != nil {
		return fmt.Errorf("cannot read the handover: %w", err)
	}
	return nil
}

// Bytes returns a copy of the bytes of a blob.
func (r *Reader) Bytes(b Blob) ([]byte, error) {
	if b.Offset < 0 || b.Size < 0 || b.Offset > r.size || b.Size > r.size-b.Offset {
		return nil, fmt.Errorf("cannot read the handover: %d bytes at %d are outside of the file",
			b.Size, b.Offset)
	}
	p := make([]byte, b.Size)
	if _, err := r.file.ReadAt(p, b.Offset); err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	return p, nil
}
