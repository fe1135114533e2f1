package privsep

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// rule says what becomes of one system call: match when one of the clauses
// holds, or when there is none; otherwise what else names.
type rule struct {
	number  uintptr
	match   uint32
	clauses []clause
	other   uint32
}

// clause holds when all of its tests do.
type clause []test

// test holds when args[arg] & mask == want, over all 64 bits: a filter that
// looked at the low half alone could be passed by setting the high one.
type test struct {
	arg        uint32
	mask, want uint64
}

func equal(arg uint32, want uint64) test { return test{arg, math.MaxUint64, want} }

// within holds when no bit but the allowed ones is set.
func within(arg uint32, allowed uint64) test { return test{arg, ^allowed, 0} }

// has holds when all of the bits are set.
func has(arg uint32, bits uint64) test { return test{arg, bits, bits} }

// Where the kernel puts what a filter may look at (struct seccomp_data).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32Bit marks system calls of the x32 ABI, which share AUDIT_ARCH_X86_64 but
// not the numbers. No other architecture has numbers that high.
const x32Bit = 0x40000000

// compile turns rules into a filter that kills a process speaking another ABI
// and answers whatever no rule names with fallback.
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
			return nil, fmt.Errorf("cannot compile the rule for system call %d: it is named twice or has %d instructions", r.number, len(body))
		}
		seen[r.number] = true
		program = append(program, jump(unix.BPF_JEQ, uint32(r.number), 0, uint8(len(body))))
		program = append(program, body...)
	}
	program = append(program, give(fallback))
	if len(program) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("cannot compile the filter: %d instructions are more than %d", len(program), unix.BPF_MAXINSNS)
	}
	return program, nil
}

// compile always ends in an answer, so the accumulator still holds the number
// of the system call for the rules that follow.
func (r rule) compile() []unix.SockFilter {
	if len(r.clauses) == 0 {
		return []unix.SockFilter{give(r.match)}
	}
	var body []unix.SockFilter
	for _, c := range r.clauses {
		body = append(body, c.compile(r.match)...)
	}
	return append(body, give(r.other))
}

// compile lets every failed test jump behind the clause's answer.
func (c clause) compile(match uint32) []unix.SockFilter {
	var body []unix.SockFilter
	for _, t := range c {
		low := offsetArgs + 8*t.arg
		body = append(body, half(low, uint32(t.mask), uint32(t.want))...)
		body = append(body, half(low+4, uint32(t.mask>>32), uint32(t.want>>32))...)
	}
	body = append(body, give(match))
	for i := range body {
		if body[i].Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
			body[i].Jf = uint8(len(body) - i - 1)
		}
	}
	return body
}

// half compares 32 bits of an argument; the jump's target is filled in by the
// clause. Both architectures are little endian.
func half(offset, mask, want uint32) []unix.SockFilter {
	if mask == 0 && want == 0 {
		return nil
	}
	code := []unix.SockFilter{load(offset)}
	if mask != math.MaxUint32 {
		code = append(code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
	}
	return append(code, jump(unix.BPF_JEQ, want, 0, 0))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(condition uint16, value uint32, whenTrue, whenFalse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, K: value, Jt: whenTrue, Jf: whenFalse}
}

func give(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
