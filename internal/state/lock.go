package state

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLockWait covers the time between a daemon's death and the exec of a child that it was forking:
// until then the child holds the lock too.
const maxLockWait = 2 * time.Second

// ErrLocked means that another daemon uses the state directory.
var ErrLocked = errors.New("the state directory is in use")

// acquireLock retries for up to wait. During each attempt it also holds a lock on the directory
// itself, so that no other daemon sees the lock file without its owner's process id.
func (d *Dir) acquireLock(wait time.Duration) error {
	dir, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("cannot open the state directory: %w", err)
	}
	defer dir.Close()
	for deadline := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return cannotLock(err)
		}
		late := time.Now().After(deadline)
		acquired, err := d.tryLock(late)
		if err := unix.Flock(int(dir.Fd()), unix.LOCK_UN); err != nil {
			return err
		}
		if acquired || err != nil {
			return err
		}
		if late { // the lock of a dying daemon was removed
			deadline = time.Now().Add(wait)
		}
	}
}

func cannotLock(err error) error {
	return fmt.Errorf(
		"cannot lock the state directory: %w; hint: it must be on a local file system", err,
	)
}

// tryLock is one attempt. In a late one it removes the lock file of a daemon that was killed but
// cannot die, as one of its threads hangs in the kernel: that daemon executes no instruction any
// more.
func (d *Dir) tryLock(late bool) (acquired bool, err error) {
	f, err := d.openPath("lock")
	if err != nil {
		return false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		writeOwner(f)
		d.lock = f
		return true, nil
	case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EWOULDBLOCK) && !late:
		return false, f.Close()
	case !errors.Is(err, unix.EWOULDBLOCK):
		err = cannotLock(err)
	case isDying(owner(f)):
		err = os.Remove(f.Name())
	default:
		err = fmt.Errorf(
			"%w by another daemon (process %s); "+
				"hint: stop it first, or choose another directory with --state-dir",
			ErrLocked, owner(f),
		)
	}
	return false, errors.Join(err, f.Close())
}

// isDying reports whether a process was killed and executes no more instructions: it is a zombie,
// also one with threads left, or SIGKILL is pending.
func isDying(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return true
			}
		case "SigPnd":
			pending, err := strconv.ParseUint(value, 16, 64)
			return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
		}
	}
	return false
}

// writeOwner records the process id for the error message of another daemon, and for isDying.
func writeOwner(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
}

func owner(f *os.File) string {
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0)
	pid := strings.TrimSpace(string(text[:n]))
	if pid != "" && strings.Trim(pid, "0123456789") == "" {
		return pid
	}
	return "unknown"
}
