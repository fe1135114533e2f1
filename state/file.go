package state

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// file is what is done to an open file. Tests put one that fails in its place.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// diskFile syncs with fdatasync: contents and size, which is all that is read back.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// opener turns a file just opened into what the ledger uses.
type opener func(*os.File) file

func onDisk(f *os.File) file { return diskFile{f} }
