package exec

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits bound what a command may take. 0 leaves what the daemon has inherited.
// None can be set higher than the daemon's own. A command that breaks a limit
// sees its system call fail, and of CPUTime it sees SIGXCPU.
type Limits struct {
	OpenFiles uint64        // descriptors of each process
	Processes uint64        // of the user in total, not only of this command
	Memory    uint64        // address space of each process, in bytes
	CPUTime   time.Duration // of each process; full seconds, rounded up
}

// LimitedCommand is the argument by which this program becomes what sets limits
// on itself and then executes the shell: main hands the arguments after it to
// RunLimited. Go can set no limits between fork and exec, and afterwards the
// shell may have forked already.
const LimitedCommand = "limited"

// self is the program that runs, also after its file was replaced.
const self = "/proc/self/exe"

// cannotExecute is the exit status of shells for what cannot be executed.
const cannotExecute = 126

func (l Limits) validate() error {
	if l.CPUTime < 0 {
		return requestFault("the limit of processor time %v is negative: use 0 for none", l.CPUTime)
	}
	return nil
}

// program is what is executed for c, its arguments and its environment.
func (c Command) program() (path string, arguments, env []string) {
	if c.Limits == (Limits{}) {
		return c.Shell, c.arguments(), c.Env
	}
	return self, append([]string{"dataflux-func-sidecar", LimitedCommand, c.Limits.String()}, c.arguments()...), hidden(c.Env)
}

// A command's GOMAXPROCS, GOMEMLIMIT or GODEBUG is not meant for this program,
// whose runtime obeys it before any limit is set. Names that begin like those
// take their way to the shell in a form of the same length that no name can have, as all are UTF-8.
const (
	known  = "GO"
	masked = "\xffO"
)

func hidden(env []string) []string { return respelled(env, known, masked) }

func shown(env []string) []string { return respelled(env, masked, known) }

func respelled(env []string, from, to string) []string {
	env = slices.Clone(env)
	for i, variable := range env {
		if rest, found := strings.CutPrefix(variable, from); found {
			env[i] = to + rest
		}
	}
	return env
}

// mayExecute says why a file cannot be executed, if that is plain to see.
func mayExecute(path string) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EACCES
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// String is the form in which the limits are handed over.
func (l Limits) String() string {
	seconds := uint64((l.CPUTime + time.Second - 1) / time.Second)
	return fmt.Sprintf("%d,%d,%d,%d", l.OpenFiles, l.Processes, seconds, l.Memory)
}

const kinds = 4

// limitKinds are in the order of String. The address space comes last, as from
// then on even this program may get no memory.
var limitKinds = [kinds]int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC, unix.RLIMIT_CPU, unix.RLIMIT_AS}

// RunLimited does LIMITS SHELL ARGUMENTS. It returns only if it cannot, with
// the exit status and after saying why on standard error.
func RunLimited(arguments []string) int {
	if len(arguments) < 2 {
		fmt.Fprintln(os.Stderr, "dataflux-func-sidecar "+LimitedCommand+": this is for the daemon's own use")
		return 2
	}
	err := runLimited(arguments[0], arguments[1:])
	fmt.Fprintf(os.Stderr, "dataflux-func-sidecar: cannot run the shell %s within its limits: %v\n", quote(arguments[1]), err)
	return cannotExecute
}

func runLimited(list string, arguments []string) error {
	// Go has raised the limit of descriptors for this program. Its exec lowers
	// it first, and then finds nothing to execute.
	_ = syscall.Exec("", nil, nil)
	limits, err := parseLimits(list)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(arguments)
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(shown(os.Environ()))
	if err != nil {
		return err
	}
	return execWithin(limits, argv, envv)
}

// execWithin takes no memory and starts no thread: the limits may leave neither.
func execWithin(limits [kinds]syscall.Rlimit, argv, envv []*byte) error {
	for i := range limits {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, uintptr(limitKinds[i]), uintptr(unsafe.Pointer(&limits[i])), 0, 0, 0)
		if errno != 0 {
			return errno
		}
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	return errno
}

func parseLimits(list string) (limits [kinds]syscall.Rlimit, err error) {
	wanted := strings.Split(list, ",")
	if len(wanted) != kinds {
		return limits, fmt.Errorf("%d limits instead of %d", len(wanted), kinds)
	}
	for i, text := range wanted {
		limit, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return limits, err
		}
		if limits[i], err = lowered(limitKinds[i], limit); err != nil {
			return limits, err
		}
	}
	return limits, nil
}

// lowered is the limit to set, which is never above the present one. Processor
// time keeps a second between SIGXCPU and SIGKILL, so that the cause is told.
func lowered(kind int, limit uint64) (now syscall.Rlimit, err error) {
	if err := syscall.Getrlimit(kind, &now); err != nil || limit == 0 {
		return now, err
	}
	limit = min(limit, now.Max)
	now.Cur = limit
	if kind == unix.RLIMIT_CPU {
		limit = min(limit+1, now.Max)
	}
	now.Max = limit
	return now, nil
}
