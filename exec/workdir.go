package exec

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openDir opens the working directory for the child to change to. The daemon
// resolves the path and the child gets a descriptor, so that both mean the same
// directory whatever happens to the path meanwhile. Links such as
// /proc/self/fd/N are not followed: they would lead to what only the daemon has
// open.
func (r *Runner) openDir(path string) (int, error) {
	open := openBeneathNoMagic
	if r.noOpenat2 {
		open = openEachComponent
	}
	fd, err := open(path)
	if err == nil {
		// A file system that answers nothing is to hang here: in the child it
		// would take one of the few places of those that fork.
		if err = unix.Faccessat(fd, ".", unix.X_OK, 0); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, dirError(path, err)
	}
	return fd, nil
}

// openBeneathNoMagic also proves that the directory may be entered: looking up
// "." in it takes the right to search it.
func openBeneathNoMagic(path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(unix.AT_FDCWD, path+"/.", &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// openEachComponent serves kernels before 5.6. It resolves links by their text
// and then follows none, so no magic link can be taken on the way.
func openEachComponent(path string) (int, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return -1, err
	}
	if beneathProc(filepath.Clean(path)) || beneathProc(resolved) {
		return -1, unix.ELOOP
	}
	fd, err := unix.Open("/", dirFlags, 0)
	for _, name := range append(strings.Split(resolved, "/"), ".") {
		if err != nil {
			return -1, err
		}
		if name != "" {
			fd, err = openNext(fd, name)
		}
	}
	return fd, err
}

const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW

func openNext(dir int, name string) (int, error) {
	defer unix.Close(dir)
	return unix.Openat(dir, name, dirFlags, 0)
}

func beneathProc(path string) bool {
	return path == "/proc" || strings.HasPrefix(path, "/proc/")
}

// dirError says what to change about a working directory, if that helps.
func dirError(path string, err error) error {
	what := "cannot use the working directory " + quote(path)
	var cause syscall.Errno
	if !errors.As(err, &cause) {
		cause = unix.ELOOP // EvalSymlinks has no errno for too many links
	}
	if reason := dirReason(cause); reason != "" {
		return &StartError{Fault: FaultRequest, What: what + ": " + reason, Err: cause}
	}
	return &StartError{Fault: FaultHost, What: what, Err: cause}
}

func dirReason(cause syscall.Errno) string {
	switch cause {
	case unix.ENOENT:
		return "create it or name another"
	case unix.ENOTDIR:
		return "name a directory"
	case unix.EACCES, unix.EPERM:
		return "let the user that runs commands enter it, or name another"
	case unix.ELOOP:
		return "name the directory itself, not a link that cannot be followed"
	case unix.ENAMETOOLONG:
		return "name one with a shorter path"
	}
	return ""
}
