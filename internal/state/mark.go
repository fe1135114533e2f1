package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// The mark is a small file with two copies, written in turn and in place. So it can be updated on a
// full disk, and a sync changes no metadata.
const (
	markMagic = "dfs-mark"
	markSize  = 76
	markPage  = 4096 // each copy has a page to itself
)

// mark is the state of the nonce log that recovery cannot learn from the log itself.
type mark struct {
	serial  uint64   // the copy with the higher one counts
	boot    [16]byte // boot id of the host at the time of writing
	clean   bool     // the daemon stopped in order, and the log is complete up to logEnd
	horizon int64    // no request with a later timestamp was ever accepted
	floor   int64    // nonces with timestamps up to it may be missing from the log
	logEnd  position // the log had all records up to here; zero: not known
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
	b = binary.LittleEndian.AppendUint64(b, m.logEnd.sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.logEnd.offset))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func decodeMark(b []byte) (mark, error) {
	if len(b) < markSize ||
		binary.LittleEndian.Uint32(b[72:]) != crc32.Checksum(b[:72], castagnoli()) {
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
		logEnd: position{
			binary.LittleEndian.Uint64(b[56:]), int64(binary.LittleEndian.Uint64(b[64:])),
		},
	}
	copy(m.boot[:], b[24:40])
	return m, nil
}

// markFile is the open mark. Callers serialise its methods.
type markFile struct {
	file file
	now  mark
}

// openMark reads the mark. found is false if there is none; intact means that both copies are
// valid, or that the file is new.
func (d *Dir) openMark(name string, open opener) (m *markFile, found, intact bool, err error) {
	f, err := d.open(name)
	if err != nil {
		return nil, false, false, err
	}
	m = &markFile{file: open(f)}
	found, intact, err = m.load(f)
	if err != nil {
		_ = f.Close()
		return nil, false, false, fmt.Errorf("cannot use %s/%s: %w", d.path, name, err)
	}
	return m, found, intact, nil
}

func (m *markFile) load(f *os.File) (found, intact bool, err error) {
	var pages [2 * markPage]byte
	n, err := f.ReadAt(pages[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, false, err
	}
	if n == 0 {
		return false, true, nil
	}
	intact = true
	for i := range 2 {
		copied, err := decodeMark(pages[i*markPage:][:markSize])
		switch {
		case errors.Is(err, errUnusable):
			intact = false
		case err != nil:
			return false, false, err
		case !found || copied.serial > m.now.serial:
			m.now, found = copied, true
		}
	}
	return found, intact, nil
}

// format writes and syncs both copies, which allocates their blocks.
func (m *markFile) format(to mark) error {
	for range 2 {
		if err := m.put(to); err != nil {
			return err
		}
	}
	return m.sync()
}

// put replaces the older copy. It then survives a kill of the daemon, and after sync a power cut.
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
