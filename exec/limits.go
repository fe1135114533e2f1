package exec

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// program is what is executed for c, and its arguments.
func (c Command) program() (path string, arguments []string) {
	if c.Limits == (Limits{}) {
		return c.Shell, c.arguments()
	}
	return self, append([]string{"dataflux-func-sidecar", LimitedCommand, c.Limits.String()}, c.arguments()...)
}

// String is the form in which the limits are handed over.
func (l Limits) String() string {
	seconds := uint64((l.CPUTime + time.Second - 1) / time.Second)
	return fmt.Sprintf("%d,%d,%d,%d", l.OpenFiles, l.Processes, seconds, l.Memory)
}

// limitKinds are in the order of String. The address space comes last, as from
// then on even this program may get no memory.
var limitKinds = [...]int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC, unix.RLIMIT_CPU, unix.RLIMIT_AS}

// RunLimited does LIMITS SHELL ARGUMENTS. It returns only if it cannot, with
// the exit status and after saying why on standard error.
func RunLimited(arguments []string) int {
	if len(arguments) < 2 {
		fmt.Fprintln(os.Stderr, "dataflux-func-sidecar "+LimitedCommand+": this is for the daemon's own use")
		return 2
	}
	shell, environment := arguments[1], os.Environ()
	if err := setLimits(arguments[0]); err != nil {
		fmt.Fprintf(os.Stderr, "dataflux-func-sidecar: cannot set the limits of the command: %v\n", err)
		return cannotExecute
	}
	err := syscall.Exec(shell, arguments[1:], environment)
	fmt.Fprintf(os.Stderr, "dataflux-func-sidecar: cannot run the shell %s within its limits: %v\n", quote(shell), err)
	return cannotExecute
}

func setLimits(list string) error {
	for i, text := range strings.SplitN(list, ",", len(limitKinds)) {
		limit, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		if limit == 0 {
			continue
		}
		if err := setLimit(limitKinds[i], limit); err != nil {
			return err
		}
	}
	return nil
}

// setLimit only ever lowers. Processor time keeps a second between SIGXCPU and
// SIGKILL, which tells the cause apart from other kills.
func setLimit(kind int, limit uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(kind, &now); err != nil {
		return err
	}
	limit = min(limit, now.Max)
	hard := limit
	if kind == unix.RLIMIT_CPU {
		hard = min(limit+1, now.Max)
	}
	return syscall.Setrlimit(kind, &syscall.Rlimit{Cur: limit, Max: hard})
}
