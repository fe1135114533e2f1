package privsep

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoSeccomp means that the kernel, or the container around this process, has no seccomp filters.
// The network role does not start without.
var ErrNoSeccomp = errors.New("seccomp filters are not available")

// InstallSeccomp is stage two of the sandbox: it restricts every thread to the system calls of
// networkRules, and proves it. It also repeats what the execution of stage two undid, and what a
// caller may have left out of stage one. Listeners are all listening sockets that this process has.
func InstallSeccomp(listeners []*Listener) error {
	for _, step := range []func() error{
		SetNonDumpable, refuseCoreDumps, SetNoNewPrivs, startPoller,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	shared := []int{2}
	for _, l := range listeners {
		shared = append(shared, l.descriptor)
	}
	program, err := compile(auditArch, networkRules(os.Getpid(), shared), errnoAction(unix.EPERM))
	if err != nil {
		return err
	}
	if err := loadFilter(program); err != nil {
		return err
	}
	return errors.Join(proveSeccomp(), proveShutdownRefused(shared))
}

// startPoller makes the Go runtime create its epoll descriptors, which the filter forbids later.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot start the runtime's poller: %w", err)
	}
	return errors.Join(r.Close(), w.Close())
}

// loadFilter puts the filter on all threads at once. If a thread cannot be reached, the result is
// its id and the error number is 0.
func loadFilter(program []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return fmt.Errorf("cannot confine the network role: %w (%w); hint: use a kernel with "+
			"CONFIG_SECCOMP_FILTER, and let the container permit the call `seccomp`",
			ErrNoSeccomp, errno)
	case errno != 0:
		return fmt.Errorf("cannot confine the network role: seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("cannot confine the network role: thread %d has a filter of its own",
			thread)
	}
	return nil
}

// proveSeccomp asks every thread for its mode. The files in /proc that show it are out of reach by
// now.
func proveSeccomp() error {
	mode, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0)
	if errno != 0 || mode != unix.SECCOMP_MODE_FILTER {
		return fmt.Errorf(
			"cannot prove that the network role is confined: seccomp mode %d, errno %d%s",
			mode, errno, cgoHint(errno),
		)
	}
	return nil
}

// proveShutdownRefused asks for a kind of shutdown that does not exist: without the filter it does
// nothing, and the answer is EINVAL or ENOTSOCK.
func proveShutdownRefused(descriptors []int) error {
	for _, fd := range descriptors {
		if err := unix.Shutdown(fd, 99); err != unix.EPERM {
			return fmt.Errorf("cannot prove that the network role is confined: "+
				"shutdown of descriptor %d answers %v", fd, err)
		}
	}
	return nil
}

// rule decides about one system call: match if one of the clauses holds or if there are none,
// otherwise other. Both are actions of seccomp(2).
type rule struct {
	number  uintptr
	match   uint32
	clauses []clause
	other   uint32
	// except lists descriptors that get other when they are argument 0. It precedes the clauses.
	// The low half alone is compared: the kernel takes 32 bits for a descriptor, so 1<<32|4 is
	// descriptor 4 too.
	except []int
	why    string
}

// clause holds if all of its tests do.
type clause []test

// test holds if args[arg] & mask == want, over all 64 bits: a filter that looked at the low half
// alone could be passed by setting the high half.
type test struct {
	arg        uint32
	mask, want uint64
}

func equal(arg uint32, want uint64) test { return test{arg, math.MaxUint64, want} }

// within holds if no bit but the allowed ones is set.
func within(arg uint32, allowed uint64) test { return test{arg, ^allowed, 0} }

// has holds if all of the bits are set.
func has(arg uint32, bits uint64) test { return test{arg, bits, bits} }

func errnoAction(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// allow permits calls with any arguments.
func allow(why string, numbers ...uintptr) []rule {
	return forEach(numbers, rule{match: unix.SECCOMP_RET_ALLOW, why: why})
}

// allowIf permits a call if one of the clauses holds. Otherwise it fails with EPERM.
func allowIf(why string, number uintptr, clauses ...clause) []rule {
	return []rule{{
		number: number, match: unix.SECCOMP_RET_ALLOW,
		clauses: clauses, other: errnoAction(unix.EPERM), why: why,
	}}
}

// allowExcept is allowIf, but on these descriptors the call fails with EPERM.
func allowExcept(why string, descriptors []int, number uintptr, clauses ...clause) []rule {
	rules := allowIf(why, number, clauses...)
	rules[0].except = descriptors
	return rules
}

// allowOrKill permits a call if the clause holds. Otherwise it ends the process.
func allowOrKill(why string, number uintptr, c clause) []rule {
	rules := allowIf(why, number, c)
	rules[0].other = unix.SECCOMP_RET_KILL_PROCESS
	return rules
}

// refuse has a call fail with an error number other than EPERM.
func refuse(why string, number uintptr, errno unix.Errno) []rule {
	return []rule{{number: number, match: errnoAction(errno), why: why}}
}

// kill ends the process that makes one of the calls.
func kill(why string, numbers ...uintptr) []rule {
	return forEach(numbers, rule{match: unix.SECCOMP_RET_KILL_PROCESS, why: why})
}

func forEach(numbers []uintptr, r rule) []rule {
	rules := make([]rule, 0, len(numbers))
	for _, number := range numbers {
		r.number = number
		rules = append(rules, r)
	}
	return rules
}

// Offsets in struct seccomp_data, which is what a filter can read.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32Bit marks system calls of the x32 ABI, which has AUDIT_ARCH_X86_64 as well, and other numbers.
// No other architecture has numbers that high.
const x32Bit = 0x40000000

// compile returns a filter. It kills a process that uses another ABI, and answers a call without a
// rule with fallback.
func compile(arch uint32, rules []rule, fallback uint32) ([]unix.SockFilter, error) {
	program := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, arch, 1, 0),
		give(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		give(unix.SECCOMP_RET_KILL_PROCESS),
	}
	seen := map[uintptr]bool{}
	for _, r := range rules {
		body := r.compile()
		if seen[r.number] || len(body) > math.MaxUint8 {
			return nil, fmt.Errorf("cannot compile the rule for system call %d: "+
				"it is there twice, or has %d instructions", r.number, len(body))
		}
		seen[r.number] = true
		program = append(program, jump(unix.BPF_JEQ, uint32(r.number), 0, uint8(len(body))))
		program = append(program, body...)
	}
	program = append(program, give(fallback))
	if len(program) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("cannot compile the filter: %d instructions, the kernel takes %d",
			len(program), unix.BPF_MAXINSNS)
	}
	return program, nil
}

// compile always ends in an answer, so the accumulator still holds the number of the system call
// when the next rule is reached.
func (r rule) compile() []unix.SockFilter {
	body := r.compileExcept()
	if len(r.clauses) == 0 {
		return append(body, give(r.match))
	}
	for _, c := range r.clauses {
		body = append(body, c.compile(r.match)...)
	}
	return append(body, give(r.other))
}

// compileExcept compares with ranges of numbers, as listening sockets have consecutive ones.
func (r rule) compileExcept() []unix.SockFilter {
	if len(r.except) == 0 {
		return nil
	}
	body := []unix.SockFilter{load(offsetArgs)}
	numbers := slices.Sorted(slices.Values(r.except))
	for i := 0; i < len(numbers); i++ {
		first := numbers[i]
		for i+1 < len(numbers) && numbers[i+1] == numbers[i]+1 {
			i++
		}
		body = append(body,
			jump(unix.BPF_JGE, uint32(first), 0, 2),
			jump(unix.BPF_JGE, uint32(numbers[i]+1), 1, 0),
			give(r.other))
	}
	return body
}

// compile has every test that fails jump over the clause's answer.
func (c clause) compile(match uint32) []unix.SockFilter {
	var body []unix.SockFilter
	for _, t := range c {
		low := offsetArgs + 8*t.arg // both architectures are little endian
		body = append(body, compareHalf(low, uint32(t.mask), uint32(t.want))...)
		body = append(body, compareHalf(low+4, uint32(t.mask>>32), uint32(t.want>>32))...)
	}
	body = append(body, give(match))
	for i := range body {
		if body[i].Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
			body[i].Jf = uint8(len(body) - i - 1)
		}
	}
	return body
}

// compareHalf compares 32 bits of an argument. The clause sets the target of the jump.
func compareHalf(offset, mask, want uint32) []unix.SockFilter {
	if mask == 0 && want == 0 {
		return nil
	}
	code := []unix.SockFilter{load(offset)}
	if mask != math.MaxUint32 {
		code = append(code,
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
	}
	return append(code, jump(unix.BPF_JEQ, want, 0, 0))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(condition uint16, value uint32, whenTrue, whenFalse uint8) unix.SockFilter {
	code := unix.BPF_JMP | condition | unix.BPF_K
	return unix.SockFilter{Code: code, K: value, Jt: whenTrue, Jf: whenFalse}
}

func give(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
