// Package state keeps on disk what must survive the daemon: the nonces of accepted requests, and
// the jobs that owe a callback, with their results. docs/state.md describes the files and the
// recovery from damage.
//
// All files are opened before the executor drops root. Afterwards the package only reads, writes,
// truncates and syncs open files: it creates, renames and removes none. A record counts as durable
// once fdatasync has succeeded. The payloads that callers hand over are opaque to it.
//
// The layers, from the bottom: the directory, its lock and its handover; the format of headers and
// records; segment, log and recovery, which are the write-ahead log; the mark; and the two ledgers,
// Nonces and Deliveries.
package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is the state directory, locked against any other daemon until Close.
type Dir struct {
	path  string
	lock  *os.File
	files map[string]*os.File // state files that were opened, by name
	// unopened are the files of the predecessor that are not in files yet. It is nil in a directory
	// that was not handed over.
	unopened map[string]*os.File
}

// OpenDir creates the directory if it is missing, closes it to other users and locks it. It returns
// ErrLocked if another daemon holds it, and an error without any change if a newer version wrote to
// it.
func OpenDir(path string) (*Dir, error) { return openDirWithin(path, maxLockWait) }

func openDirWithin(path string, lockWait time.Duration) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf(
			"cannot create the state directory: %w; "+
				"hint: create it, or choose another one with --state-dir",
			err,
		)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path, files: map[string]*os.File{}}
	if err := d.acquireLock(lockWait); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	if err := d.refuseNewer(); err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

// makePrivate refuses a directory that another user could have written to, and revokes read access.
func makePrivate(path string) error {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return fmt.Errorf("cannot look at the state directory %s: %w", path, err)
	}
	switch {
	case s.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf(
			"cannot use %s: it is not a directory itself; "+
				"hint: name the directory with --state-dir",
			path,
		)
	case int(s.Uid) != os.Geteuid():
		return fmt.Errorf(
			"cannot use %s: it belongs to user id %d, the daemon starts as %d; "+
				"hint: chown it, or choose another one with --state-dir",
			path, s.Uid, os.Geteuid(),
		)
	case s.Mode&0o022 != 0:
		return fmt.Errorf(
			"cannot use %s: others may write to it (mode %04o); "+
				"hint: make sure that its files are yours, then `chmod 0700 %s`",
			path, s.Mode&0o7777, path,
		)
	case s.Mode&0o077 != 0:
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("cannot close the state directory to others: %w", err)
		}
	}
	return nil
}

// refuseNewer looks for a file of a newer format before anything is changed, so that the version
// that wrote it finds all files as they were. Other errors show when the files are opened.
func (d *Dir) refuseNewer() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("cannot list the state directory: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		var failures []error
		switch start := startOf(path); filepath.Ext(path) {
		case ".log":
			_, err := decodeHeader(start)
			failures = append(failures, err)
		case ".mark":
			_, first := decodeMark(start[:markSize])
			_, second := decodeMark(start[markPage:])
			failures = append(failures, first, second)
		}
		if err := errors.Join(failures...); errors.Is(err, errNewer) {
			return fmt.Errorf("cannot use %s: %w", path, err)
		}
	}
	return nil
}

// startOf returns the first bytes of a file, with zeros for what cannot be read.
func startOf(path string) []byte {
	start := make([]byte, 2*markPage)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return start
	}
	defer f.Close()
	_, _ = io.ReadFull(f, start)
	return start
}

// open opens a state file, and creates it if it is missing.
func (d *Dir) open(name string) (*os.File, error) {
	if d.inherited() {
		return d.openInherited(name)
	}
	f, err := d.openPath(name)
	if err == nil {
		d.files[name] = f
	}
	return f, err
}

// openPath opens a file of the directory, and creates it if it is missing.
func (d *Dir) openPath(name string) (*os.File, error) {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf(
			"cannot open a state file: %w; hint: check the file system of the directory, or "+
				"move the file away",
			err,
		)
	}
	if err := checkFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	return f, nil
}

func checkFile(f *os.File) error {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG || int(s.Uid) != os.Geteuid() {
		return fmt.Errorf(
			"it is not a regular file of user id %d; hint: move it away and start again",
			os.Geteuid(),
		)
	}
	if s.Mode&0o7777 != 0o600 {
		return f.Chmod(0o600)
	}
	return nil
}

// setAside renames an unreadable file to NAME.damaged, replacing an earlier one, and creates it
// afresh.
func (d *Dir) setAside(name string) (*os.File, error) {
	path := filepath.Join(d.path, name)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, fmt.Errorf("cannot set a damaged state file aside: %w", err)
	}
	return d.open(name)
}

// sync makes the directory's entries durable. In a directory that was handed over they are.
func (d *Dir) sync() error {
	if d.inherited() {
		return nil
	}
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("cannot open the state directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cannot sync the state directory: %w", err)
	}
	return nil
}

// Close releases the lock. Close the ledgers before.
func (d *Dir) Close() error { return d.lock.Close() }

// file is an open state file. Tests substitute one that fails.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// diskFile syncs with fdatasync: contents and size, which is all that recovery reads.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// opener wraps a file that was opened.
type opener func(*os.File) file

func onDisk(f *os.File) file { return diskFile{f} }
