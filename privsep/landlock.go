package privsep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Landlock is the state that stage one ends in.
type Landlock struct {
	// ABI is the version of Landlock in force, or 0.
	ABI int
	// Missing says why there is none. The caller tells it loudly, once.
	Missing error

	thread int
}

// EnterLandlock is stage one of the sandbox. A freshly executed network role
// calls it before anything else: it locks the goroutine to its thread, sets
// no_new_privs, makes the process non-dumpable, ties it to the thread that
// started it (SIGKILL when that ends) and takes from this thread every right to
// files but that of reading what name resolution and TLS need.
// The same goroutine then calls Reexec.
func EnterLandlock() (Landlock, error) {
	runtime.LockOSThread()
	state := Landlock{thread: unix.Gettid()}
	for _, step := range []func() error{SetNoNewPrivs, SetNonDumpable, dieWithParent} {
		if err := step(); err != nil {
			return state, err
		}
	}
	abi, err := landlockABI()
	if err != nil {
		state.Missing = fmt.Errorf("no Landlock: %w: files are guarded by their modes and by seccomp alone; "+
			"use Linux 5.13 or later with `landlock` in the kernel's lsm= list", err)
		return state, nil
	}
	state.ABI = abi
	return state, restrictThread(abi)
}

// Reexec executes this program anew with the given arguments and environment,
// inside the domain that EnterLandlock made. It returns only when that fails.
func (l Landlock) Reexec(argv, env []string) error {
	if l.thread == 0 || unix.Gettid() != l.thread {
		return errors.New("cannot execute stage two: this thread is not the one that called EnterLandlock")
	}
	err := syscall.Exec(ownProgram, argv, env)
	return fmt.Errorf("cannot execute stage two: %w", err)
}

// dieWithParent asks again for what the parent asked for when it forked. That
// belongs to the thread that was forked, and the one that executes stage two
// need not be it: the signal would be lost without a word.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("cannot tie the network role to its parent: %w", err)
	}
	return nil
}

// LandlockInForce proves from inside that files are out of reach: whoever the
// user is, an unconfined process may open the root directory.
func LandlockInForce() error {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		return errors.New("cannot prove that Landlock is in force: the root directory can be opened")
	}
	if !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("cannot prove that Landlock is in force: %w", err)
	}
	return nil
}

// ownProgram leads to the file that is running even when another one has taken
// its name meanwhile.
const ownProgram = "/proc/self/exe"

// restrictThread makes the ruleset and puts this thread under it.
func restrictThread(abi int) error {
	ruleset, err := createRuleset(abi)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	// seccomp forbids executing later on; reading is what executing begins with.
	if err := allowPath(ruleset, ownProgram, unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_READ_FILE); err != nil {
		return err
	}
	for _, dir := range readableDirectories() {
		err := allowPath(ruleset, dir, unix.LANDLOCK_ACCESS_FS_READ_FILE)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return restrictSelf(ruleset)
}

// readableDirectories are where name resolution and the certificate pool read.
// They are directories throughout: a rule on resolv.conf itself would go
// with the old file when a new one is renamed over it.
func readableDirectories() []string {
	dirs := []string{
		"/etc",                       // resolv.conf, hosts, nsswitch.conf, ssl, pki
		"/run/systemd/resolve",       // the usual target of /etc/resolv.conf
		"/run/NetworkManager",        // the same
		"/run/resolvconf",            // the same
		"/var/lib/ca-certificates",   // SUSE: the target of /etc/ssl/ca-bundle.pem
		"/usr/share/ca-certificates", // Debian: the targets in /etc/ssl/certs
	}
	// Whatever else manages this host's resolv.conf.
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		if dir := filepath.Dir(target); dir != "/" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// allowPath opens the path without asking for a right to it: the user may not
// even read its own program.
func allowPath(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "cannot allow in the sandbox", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return addPathRule(ruleset, fd, rights)
}
