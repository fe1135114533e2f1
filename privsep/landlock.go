package privsep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownProgram leads to the running program even if another file has its name by now.
const ownProgram = "/proc/self/exe"

// Landlock is the state at the end of stage one.
type Landlock struct {
	ABI     int   // the version in force, or 0
	Missing error // why there is none; the caller logs it

	thread int
}

// EnterLandlock is stage one of the sandbox. A freshly executed network role calls it before
// anything else. It locks the goroutine to its thread, sets no_new_privs, makes the process
// non-dumpable, ties it to the thread that started it (SIGKILL when that ends), and takes from this
// thread every right to files but those of readablePaths. The same goroutine then calls Reexec.
func EnterLandlock() (Landlock, error) {
	runtime.LockOSThread()
	state := Landlock{thread: unix.Gettid()}
	for _, step := range []func() error{SetNoNewPrivs, SetNonDumpable, dieWithParent} {
		if err := step(); err != nil {
			return state, err
		}
	}
	abi, err := LandlockABI()
	if err != nil {
		state.Missing = fmt.Errorf("no Landlock: %w: "+
			"files are guarded by their modes and by seccomp alone; "+
			"hint: use Linux 5.13 or later with `landlock` in the kernel's lsm= list", err)
		return state, nil
	}
	state.ABI = abi
	return state, restrictThread(abi)
}

// Reexec executes this program again with the given arguments and environment, inside the domain of
// EnterLandlock. It returns only if that fails.
func (l Landlock) Reexec(argv, env []string) error {
	if l.thread == 0 || unix.Gettid() != l.thread {
		return errors.New("cannot execute stage two: another thread has called EnterLandlock")
	}
	err := syscall.Exec(ownProgram, argv, env)
	return fmt.Errorf("cannot execute stage two: %w", err)
}

// dieWithParent repeats what the parent asked for when it forked. The signal belongs to the thread
// that was forked. If another thread executes stage two, the signal would be lost silently.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("cannot tie the network role to its parent: %w", err)
	}
	return nil
}

// LandlockInForce proves from inside that files are out of reach: without Landlock every user may
// open the root directory.
func LandlockInForce() error {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		return errors.New(
			"cannot prove that Landlock is in force: the root directory can be opened",
		)
	}
	if !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("cannot prove that Landlock is in force: %w", err)
	}
	return nil
}

// LandlockABI returns the version of Landlock that the kernel has. It is an error to have none: the
// kernel is too old or was started without it, or a container forbids the call.
func LandlockABI() (int, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	return int(abi), nil
}

// restrictThread puts this thread, to which the goroutine is locked, under the policy.
func restrictThread(abi int) error {
	attr := deniedBy(abi)
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), attr.size(), 0)
	if errno != 0 {
		return fmt.Errorf("cannot create a Landlock ruleset: %w", errno)
	}
	defer unix.Close(int(ruleset))
	for _, r := range readablePaths {
		err := addPathRule(int(ruleset), r)
		if err != nil && (r.path == ownProgram || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return fmt.Errorf("cannot enter the Landlock domain: %w", errno)
	}
	return nil
}

// addPathRule opens the path with O_PATH, which takes no right to it: the user may not even read
// its own program.
func addPathRule(ruleset int, r pathRule) error {
	fd, err := unix.Open(r.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "cannot allow in the sandbox", Path: r.path, Err: err}
	}
	defer unix.Close(fd)
	attr := pathBeneathAttr{r.rights, int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot add a Landlock rule: %w", errno)
	}
	return nil
}

// rulesetAttr is the kernel's landlock_ruleset_attr. The fields of golang.org/x/sys were renamed
// between versions.
type rulesetAttr struct {
	handledFS, handledNet, scoped uint64
}

// pathBeneathAttr is the kernel's landlock_path_beneath_attr: 12 bytes, packed. Go's padding at the
// end is not part of it.
type pathBeneathAttr struct {
	allowed uint64
	parent  int32
}

// deniedBy returns what a kernel with that version of Landlock can deny.
func deniedBy(abi int) rulesetAttr {
	var attr rulesetAttr
	for _, right := range landlockRights {
		if right.abi <= abi {
			attr.handledFS |= right.denied.handledFS
			attr.handledNet |= right.denied.handledNet
			attr.scoped |= right.denied.scoped
		}
	}
	return attr
}

// size leaves out the last fields if they are zero: an older kernel does not know them.
func (a rulesetAttr) size() uintptr {
	switch {
	case a.scoped != 0:
		return unsafe.Sizeof(a)
	case a.handledNet != 0:
		return unsafe.Offsetof(a.scoped)
	}
	return unsafe.Offsetof(a.handledNet)
}
