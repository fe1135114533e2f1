package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience covers the moment between a daemon's death and that of a child it was just forking,
// which holds the lock until its exec.
const lockPatience = 2 * time.Second

// ErrLocked means that another daemon uses the state directory.
var ErrLocked = errors.New("the state directory is in use")

// Dir is the state directory, held against any other daemon until Close.
type Dir struct {
	path string
	lock *os.File
}

// OpenDir creates the directory if need be, makes sure that nobody else can enter it, locks it, and
// refuses it untouched where a later version has been at work.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the state directory: %w: create it, or choose another one with --state-dir", err)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	lock, err := d.open("lock")
	if err != nil {
		return nil, err
	}
	if err := takeLock(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	d.lock = lock
	if err := d.refuseNewer(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// makePrivate refuses a directory into which somebody else could have put files, and closes one that
// others can merely look into.
func makePrivate(path string) error {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return fmt.Errorf("cannot look at the state directory %s: %w", path, err)
	}
	switch {
	case s.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("cannot use %s: it is not a directory itself: name the directory with --state-dir", path)
	case int(s.Uid) != os.Geteuid():
		return fmt.Errorf("cannot use %s: it belongs to user id %d, the daemon starts as %d: chown it, or choose another one with --state-dir", path, s.Uid, os.Geteuid())
	case s.Mode&0o022 != 0:
		return fmt.Errorf("cannot use %s: others may write to it (mode %04o): make sure that its files are yours, then `chmod 0700 %s`", path, s.Mode&0o7777, path)
	case s.Mode&0o077 != 0:
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("cannot close the state directory to others: %w", err)
		}
	}
	return nil
}

// open opens a file of the directory, and creates it if need be.
func (d *Dir) open(name string) (*os.File, error) {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open a state file: %w: check the directory's file system, or move the file away", err)
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
		return fmt.Errorf("it is not a regular file of user id %d: move it away and start again", os.Geteuid())
	}
	if s.Mode&0o7777 != 0o600 {
		return f.Chmod(0o600)
	}
	return nil
}

// setAside keeps an unreadable file for the operator, in place of an earlier one, and starts it anew.
func (d *Dir) setAside(name string) (*os.File, error) {
	path := filepath.Join(d.path, name)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, fmt.Errorf("cannot set a damaged state file aside: %w", err)
	}
	return d.open(name)
}

// sync makes the names of the files in it durable.
func (d *Dir) sync() error {
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

// Close gives the directory up to another daemon. The ledgers must be closed before.
func (d *Dir) Close() error { return d.lock.Close() }

func takeLock(f *os.File) error {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			writeOwner(f)
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("cannot lock the state directory: %w: it must be on a local file system", err)
		case time.Now().After(deadline):
			return fmt.Errorf("%w by another daemon (process %s): stop it first, or choose another one with --state-dir", ErrLocked, owner(f))
		}
	}
}

// writeOwner notes who holds the lock, for the message to the next one. The lock does not depend on it.
func writeOwner(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
}

func owner(f *os.File) string {
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" && strings.Trim(pid, "0123456789") == "" {
		return pid
	}
	return "unknown"
}
