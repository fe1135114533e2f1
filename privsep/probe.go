package privsep

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// LandlockABI is the version of Landlock that this kernel gives, or why it gives none.
func LandlockABI() (int, error) { return landlockABI() }

// CanEnter says why the user could not change to a directory, nil if nothing is in the way. It takes root,
// or to be that user.
func (u User) CanEnter(dir string) error { return u.try(dir + "/.") }

// CanExecute says why the user could not execute a file. The kernel itself is asked, which knows of access
// lists, of noexec mounts, and of the directories on the way.
func (u User) CanExecute(path string) error { return u.try(path) }

// try asks for access as the user on a thread of its own, which ends with its goroutine and takes the
// changed ids along: that is what not to unlock it means. The main thread is spared, as it would not end
// and whoever looks at the process sees its ids: it is kept busy until another thread has tried.
func (u User) try(path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- u.try(path)
			runtime.UnlockOSThread()
			return
		}
		err := u.becomeOnThisThread()
		if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, 0)
		}
		done <- err
	}()
	return <-done
}

// becomeOnThisThread needs not be undone, nor proved: nothing but access(2) is called with it.
func (u User) becomeOnThisThread() error {
	if unix.Getuid() == u.UID {
		return nil
	}
	if err := unix.Setgroups(u.Groups); err != nil {
		return fmt.Errorf("cannot look as user %s: %w", u.Name, err)
	}
	for _, change := range []struct{ call, id uintptr }{{unix.SYS_SETRESGID, uintptr(u.GID)}, {unix.SYS_SETRESUID, uintptr(u.UID)}} {
		if _, _, errno := unix.RawSyscall(change.call, change.id, change.id, change.id); errno != 0 {
			return fmt.Errorf("cannot look as user %s: %w", u.Name, errno)
		}
	}
	return nil
}
