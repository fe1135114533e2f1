package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
)

// DirState is a state directory as one daemon hands it over to its successor, which is the same
// process after an execve and may not enter the directory. A release that needs other files than
// the one before needs another handover.Version.
type DirState struct {
	Path   string
	Format int            // version of the files
	Lock   int            // descriptor of the locked file
	Files  map[string]int // descriptors of the state files, by name
}

// HandOver keeps the lock and the state files open over the execve, until which the caller needs d.
// Call Nonces.SyncForHandover before, and Sync of both ledgers at last; no call of a ledger may be
// in progress. The ledgers stay usable, as the execve can fail.
func (d *Dir) HandOver(w *handover.Writer) DirState {
	s := DirState{
		Path: d.path, Format: version, Lock: w.Keep(int(d.lock.Fd())), Files: map[string]int{},
	}
	for name, f := range d.files {
		if fd := int(f.Fd()); fd >= 0 { // else it is closed
			s.Files[name] = w.Keep(fd)
		}
	}
	return s
}

// Check returns an error if this program cannot read the state files. It needs none of the
// descriptors.
func (s DirState) Check() error {
	if s.Format > version {
		return fmt.Errorf("cannot use %s: version %d: %w", s.Path, s.Format, errNewer)
	}
	return nil
}

// AdoptDir returns the directory of the predecessor, with the lock that it held. OpenNonces and
// OpenDeliveries recover the ledgers from the files that it had open, as after a kill. Nothing is
// created, renamed or removed: a file that recovery would set aside is left alone and unused until
// a start that can.
//
// After an error the descriptors stay open, and the caller must end the process.
func AdoptDir(s DirState) (*Dir, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	d := &Dir{path: s.Path, files: map[string]*os.File{}, unopened: map[string]*os.File{}}
	seen := map[int]bool{}
	adopt := func(name string, fd int) (*os.File, error) {
		if seen[fd] {
			return nil, fmt.Errorf("cannot take over %s: descriptor %d is another file", name, fd)
		}
		seen[fd] = true
		return adoptFile(filepath.Join(s.Path, name), fd)
	}
	var err error
	if d.lock, err = adopt("lock", s.Lock); err != nil {
		return nil, err
	}
	// This succeeds at once if the descriptor has the lock.
	if err := unix.Flock(s.Lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("cannot take over the lock of %s: %w", s.Path, err)
	}
	for name, fd := range s.Files {
		if d.unopened[name], err = adopt(name, fd); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// adoptFile makes the descriptor close-on-exec again, and refuses one that is no regular file that
// is open for reading and writing.
func adoptFile(path string, fd int) (*os.File, error) {
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return nil, fmt.Errorf("cannot take over %s (descriptor %d): %w", path, fd, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR || s.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("cannot take over %s: descriptor %d is no file to read and write",
			path, fd)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), path), nil
}

// inherited reports whether the files are open already, and the directory cannot be entered.
func (d *Dir) inherited() bool { return d.unopened != nil }

// openInherited returns a file that was handed over, once.
func (d *Dir) openInherited(name string) (*os.File, error) {
	f := d.unopened[name]
	if f == nil {
		return nil, fmt.Errorf("cannot open %s/%s: %w", d.path, name, errNotHandedOver)
	}
	delete(d.unopened, name)
	d.files[name] = f
	return f, nil
}

var errNotHandedOver = errors.New("the daemon before the reload did not hand it over")
