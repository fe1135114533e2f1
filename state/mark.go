package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// The mark is a small file that is written in place, two copies in turn, so that it can be brought up
// to date when the disk is full, and at the cost of one sync that changes no metadata.
const (
	markMagic = "dfs-mark"
	markSize  = 76
	markPage  = 4096 // each copy has a page to itself
)

// mark says what the nonce log alone cannot tell after a crash.
type mark struct {
	serial  uint64   // the higher of the two copies counts
	boot    [16]byte // the boot in which it was written
	clean   bool     // the daemon ended in order, and the log is whole up to reached
	horizon int64    // no timestamp after it was ever accepted
	floor   int64    // nonces with timestamps at or before it may be missing from the log
	reached position // how far the log was known to reach; zero: not known
}

// position is a place in the log.
type position struct {
	sequence uint64
	offset   int64
}

func (m mark) encode() []byte {
	b := append(make([]byte, 0, markSize), markMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	var clean uint32
	if m.clean {
		clean = 1
	}
	b = binary.LittleEndian.AppendUint32(b, clean)
	b = binary.LittleEndian.AppendUint64(b, m.serial)
	b = append(b, m.boot[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.horizon))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.floor))
	b = binary.LittleEndian.AppendUint64(b, m.reached.sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.reached.offset))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func decodeMark(b []byte) (mark, error) {
	if len(b) < markSize || binary.LittleEndian.Uint32(b[72:]) != crc32.Checksum(b[:72], castagnoli()) {
		return mark{}, errUnusable
	}
	if string(b[:8]) != markMagic {
		return mark{}, errForeign
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return mark{}, fmt.Errorf("version %d: %w", v, errNewer)
	}
	m := mark{
		clean:   binary.LittleEndian.Uint32(b[12:]) == 1,
		serial:  binary.LittleEndian.Uint64(b[16:]),
		horizon: int64(binary.LittleEndian.Uint64(b[40:])),
		floor:   int64(binary.LittleEndian.Uint64(b[48:])),
		reached: position{binary.LittleEndian.Uint64(b[56:]), int64(binary.LittleEndian.Uint64(b[64:]))},
	}
	copy(m.boot[:], b[24:40])
	return m, nil
}

// markFile holds the mark. Its caller serialises.
type markFile struct {
	file file
	now  mark
}

// openMark reads the mark. Without a mark, known is false; whole says that both copies could be read.
func (d *Dir) openMark(name string, open opener) (m *markFile, known, whole bool, err error) {
	f, err := d.open(name)
	if err != nil {
		return nil, false, false, err
	}
	m = &markFile{file: open(f)}
	known, whole, err = m.load(f)
	if err != nil {
		_ = f.Close()
		return nil, false, false, fmt.Errorf("cannot use %s/%s: %w", d.path, name, err)
	}
	return m, known, whole, nil
}

func (m *markFile) load(f *os.File) (known, whole bool, err error) {
	var pages [2 * markPage]byte
	n, err := f.ReadAt(pages[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, false, err
	}
	if n == 0 {
		return false, true, nil
	}
	whole = true
	for i := range 2 {
		found, err := decodeMark(pages[i*markPage:][:markSize])
		switch {
		case errors.Is(err, errUnusable):
			whole = false
		case err != nil:
			return false, false, err
		case !known || found.serial > m.now.serial:
			m.now, known = found, true
		}
	}
	return known, whole, nil
}

// format gives both copies their place on the disk.
func (m *markFile) format(to mark) error {
	for range 2 {
		if err := m.put(to); err != nil {
			return err
		}
	}
	return m.sync()
}

// put replaces the older copy. It survives the daemon at once, and a power cut after sync.
func (m *markFile) put(to mark) error {
	to.serial = m.now.serial + 1
	page := make([]byte, markPage)
	copy(page, to.encode())
	if _, err := m.file.WriteAt(page, int64(to.serial%2)*markPage); err != nil {
		return fmt.Errorf("cannot write the mark of the nonce log: %w", err)
	}
	m.now = to
	return nil
}

func (m *markFile) sync() error {
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("cannot sync the mark of the nonce log: %w", err)
	}
	return nil
}
