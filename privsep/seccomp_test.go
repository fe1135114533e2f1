package privsep

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// call is what a filter sees of a system call.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

// word reads struct seccomp_data as a little-endian kernel lays it out.
func (c call) word(t *testing.T, offset uint32) uint32 {
	switch {
	case offset == offsetNumber:
		return c.number
	case offset == offsetArch:
		return c.arch
	case offset >= offsetArgs && offset < 64 && offset%4 == 0:
		return uint32(c.args[(offset-offsetArgs)/8] >> (offset % 8 * 8))
	}
	t.Fatalf("the filter reads offset %d", offset)
	return 0
}

// interpret runs a filter as the kernel does.
func interpret(t *testing.T, program []unix.SockFilter, c call) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		taken := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = c.word(t, in.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = a >= in.K
		default:
			t.Fatalf("the filter has the unknown instruction %#x", in.Code)
		}
		if taken {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter runs past its end")
	return 0
}

// decide returns what the rules mean, without compiling them.
func decide(rules []rule, c call, fallback uint32) uint32 {
	for _, r := range rules {
		if uint32(r.number) == c.number {
			return r.decide(c.args)
		}
	}
	return fallback
}

func (r rule) decide(args [6]uint64) uint32 {
	if slices.Contains(r.except, int(uint32(args[0]))) {
		return r.other
	}
	if len(r.clauses) == 0 {
		return r.match
	}
	for _, cl := range r.clauses {
		holds := true
		for _, t := range cl {
			holds = holds && args[t.arg]&t.mask == t.want
		}
		if holds {
			return r.match
		}
	}
	return r.other
}

const testArch = unix.AUDIT_ARCH_X86_64

// The kernel says so by a result that is no error number.
func TestInstallSeccomp_ThreadOutOfReach(t *testing.T) {
	if got := answer(t, attacker(t, "divergent")); !strings.Contains(got, "filter of its own") {
		t.Errorf("got %q, want the thread that has a filter of its own", got)
	}
}

func TestInstallSeccomp_Missing(t *testing.T) {
	if got := answer(t, attacker(t, "without", "seccomp")); !strings.HasPrefix(got, "true ") {
		t.Errorf("got %q, want ErrNoSeccomp", got)
	}
}

// A rule without a reason cannot be judged when it is to be changed.
func TestPolicy_EachRowHasAReason(t *testing.T) {
	for _, r := range networkRules(4711, []int{2}) {
		if r.why == "" {
			t.Errorf("system call %d: got no reason, want one", r.number)
		}
	}
	for _, r := range readablePaths {
		if r.why == "" {
			t.Errorf("%s: got no reason, want one", r.path)
		}
	}
	for _, r := range landlockRights {
		if r.why == "" {
			t.Errorf("Landlock %d: got no reason, want one", r.abi)
		}
	}
}

func TestFilter_BothHalvesOfAnArgument(t *testing.T) {
	rules := []rule{{number: 7, match: 1, clauses: []clause{{equal(2, 5)}}, other: 2}}
	program, err := compile(testArch, rules, 3)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[uint64]uint32{5: 1, 4: 2, 1<<32 | 5: 2, 5 << 32: 2} {
		if got := interpret(t, program, call{testArch, 7, [6]uint64{2: value}}); got != want {
			t.Errorf("argument %#x: got %d, want %d", value, got, want)
		}
	}
	if got := interpret(t, program, call{testArch, 8, [6]uint64{}}); got != 3 {
		t.Errorf("a call without a rule: got %d, want the fallback, 3", got)
	}
}

// The configuration permits so many sockets, and as many for metrics.
func TestFilter_ManyListeners(t *testing.T) {
	shared := []int{2, 140}
	for fd := 4; fd < 4+127; fd++ {
		shared = append(shared, fd)
	}
	if _, err := compile(auditArch, networkRules(4711, shared), errnoAction(unix.EPERM)); err != nil {
		t.Error(err)
	}
}

func TestFilter_ExceptedDescriptors(t *testing.T) {
	rules := []rule{
		{number: 7, match: 1, clauses: []clause{{equal(1, 5)}}, other: 2, except: []int{4, 6}},
		{number: 8, match: 4, other: 5, except: []int{4}},
	}
	program, err := compile(testArch, rules, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		number   uint32
		fd, what uint64
		want     uint32
	}{
		{7, 4, 5, 2},
		{7, 6, 5, 2},
		{7, 1<<32 | 4, 5, 2},
		{7, math.MaxUint32<<32 | 6, 5, 2},
		{7, 5, 5, 1},
		{7, 3, 5, 1},
		{7, 4 << 32, 5, 1},
		{7, 5, 6, 2},
		{8, 4, 0, 5},
		{8, 1<<63 | 4, 0, 5},
		{8, 5, 0, 4},
		{9, 4, 0, 3},
	} {
		got := interpret(t, program, call{testArch, c.number, [6]uint64{c.fd, c.what}})
		if got != c.want {
			t.Errorf("call %d on %#x: got %d, want %d", c.number, c.fd, got, c.want)
		}
	}
}

func TestFilter_AnotherABI(t *testing.T) {
	program, err := compile(testArch, []rule{{number: 7, match: 1}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]call{
		"32-bit x86":     {arch: unix.AUDIT_ARCH_I386, number: 7},
		"another arch":   {arch: unix.AUDIT_ARCH_AARCH64, number: 7},
		"x32":            {arch: testArch, number: x32Bit | 7},
		"negative":       {arch: testArch, number: 1<<32 - 1},
		"x32 of nothing": {arch: testArch, number: x32Bit},
	} {
		if got := interpret(t, program, c); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("%s: got %#x, want the process killed", name, got)
		}
	}
}

func TestFilter_RulesThatCannotBeCompiled(t *testing.T) {
	long := make([]clause, 100)
	for i := range long {
		long[i] = clause{equal(0, uint64(i))}
	}
	for name, rules := range map[string][]rule{
		"twice": {{number: 1}, {number: 1}}, "too long": {{number: 1, clauses: long}},
	} {
		if _, err := compile(testArch, rules, 0); err == nil {
			t.Errorf("%s: got a program, want an error", name)
		}
	}
}

// The calls lie at and near the bounds in the rules.
func TestFilter_AgreesWithItsRules(t *testing.T) {
	rules, fallback := networkRules(4711, []int{2, 9, 10, 11, 1000}), errnoAction(unix.EPERM)
	program, err := compile(auditArch, rules, fallback)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rules, %d instructions", len(rules), len(program))
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		c := call{arch: auditArch, number: random.Uint32N(480)}
		if random.IntN(4) > 0 {
			r := rules[random.IntN(len(rules))]
			c.number = uint32(r.number)
			c.args = near(random, r)
		}
		if got, want := interpret(t, program, c), decide(rules, c, fallback); got != want {
			t.Fatalf("call %+v: got %#x from the filter, want %#x by the rules", c, got, want)
		}
	}
}

// near picks arguments that satisfy a clause, and changes a bit of some.
func near(random *rand.Rand, r rule) (args [6]uint64) {
	for i := range args {
		args[i] = random.Uint64() >> random.IntN(64)
	}
	if len(r.except) > 0 && random.IntN(2) == 0 {
		args[0] = args[0]&^math.MaxUint32 | uint64(r.except[random.IntN(len(r.except))])
	}
	if len(r.clauses) == 0 {
		return args
	}
	for _, t := range r.clauses[random.IntN(len(r.clauses))] {
		args[t.arg] = args[t.arg]&^t.mask | t.want
		if random.IntN(4) == 0 {
			args[t.arg] ^= 1 << random.IntN(64)
		}
	}
	return args
}
