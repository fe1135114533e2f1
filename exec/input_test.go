package exec

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func scripted(interpreter []string, text string, args ...string) Command {
	c := command("")
	c.Script = &Script{Text: []byte(text), Interpreter: interpreter, Args: args}
	return c
}

// The command has its input as descriptor 0, its script as 3, and no other; its working directory
// is opened as the next one.
func TestInput_EachKernel(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		c := scripted(nil, `IFS= read -r a; echo "$a|$0|$#|$2"; pwd; ls /proc/$$/fd; cat`, "x", "y  z")
		c.Stdin, c.Dir = []byte("first\nrest"), tempDir(t)
		result := finish(t, start(t, r, c))
		want := "first|/dev/fd/3|2|y  z\n" + c.Dir + "\n0\n1\n2\n3\n"
		got := text(&result.Stdout)
		// A shell may have its own descriptor of the script, at 10 or 255.
		got = strings.NewReplacer("\n10\n", "\n", "\n255\n", "\n").Replace(got)
		if got != want+"rest" {
			t.Errorf("got %q, %q; want %q", got, text(&result.Stderr), want+"rest")
		}
	})
}

// A command without a script has no descriptor 3, whatever it reads.
func TestInput_StdinAlone(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		c := command("cat; ls /proc/$$/fd")
		c.Stdin, c.Dir = []byte("a\x00b\n"), tempDir(t)
		result := finish(t, start(t, r, c))
		if got, want := text(&result.Stdout), "a\x00b\n0\n1\n2\n"; got != want {
			t.Errorf("got %q, %q; want %q", got, text(&result.Stderr), want)
		}
	})
}

func TestScript_Interpreters(t *testing.T) {
	r := newTestRunner(t)
	tried := 0
	for _, try := range []struct{ program, option, script string }{
		{"/bin/sh", "", `echo "$# $1 $2"`},
		{"/bin/bash", "--norc", `echo "$# $1 $2"`},
		{"/usr/bin/busybox", "sh", `echo "$# $1 $2"`},
		{"/usr/bin/python3", "-I", `import sys; print(len(sys.argv) - 1, *sys.argv[1:])`},
		{"/usr/bin/perl", "-w", `print scalar(@ARGV), " @ARGV\n"`},
		{"/usr/bin/awk", "-f", `BEGIN { print ARGC - 1, ARGV[1], ARGV[2] }`},
		{
			"/usr/bin/node", "--preserve-symlinks-main",
			`const a = process.argv.slice(2); console.log(a.length, a.join(" "))`,
		},
	} {
		if _, err := os.Stat(try.program); err != nil {
			continue
		}
		tried++
		interpreter := []string{try.program}
		if try.option != "" {
			interpreter = append(interpreter, try.option)
		}
		result := finish(t, start(t, r, scripted(interpreter, try.script, "$(id)", "b c")))
		if got, want := text(&result.Stdout), "2 $(id) b c\n"; got != want {
			t.Errorf("%s: got %q, %q; want %q", try.program, got, text(&result.Stderr), want)
		}
	}
	if tried < 2 {
		t.Errorf("tried %d interpreters, want 2 or more", tried)
	}
}

// What is longer than any argument is no argument.
func TestScript_Large(t *testing.T) {
	line := strings.Repeat("#", 63) + "\n"
	c := scripted(nil, strings.Repeat(line, 1<<15)+"wc -c; tr '\\0' ' ' < /proc/$$/cmdline")
	c.Stdin = bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	result := run(t, c)
	want := fmt.Sprintf("%d\n/bin/sh /dev/fd/3 ", len(c.Stdin))
	if got := text(&result.Stdout); got != want {
		t.Errorf("got %.200q, %.200q; want %q", got, text(&result.Stderr), want)
	}
}

// Neither a descriptor, nor a new one of the same file, lets a command change it, also where it is
// the file's owner.
func TestInput_CannotBeChanged(t *testing.T) {
	const attack = `
		for n in 0 3; do
			chmod 666 /dev/fd/$n 2>/dev/null
			(printf changed >&$n) 2>/dev/null && echo "wrote to $n"
			(printf changed >>/dev/fd/$n) 2>/dev/null && echo "opened and wrote to $n"
			(: >/dev/fd/$n) 2>/dev/null && echo "cut $n"
			(printf changed 1<>/dev/fd/$n) 2>/dev/null && echo "overwrote $n"
		done
		cat; cat /dev/fd/3 | tail -n 1
		# end`
	c := scripted(nil, attack)
	c.Stdin = []byte("kept\n")
	result := run(t, c)
	if got, want := text(&result.Stdout), "kept\n\t\t# end"; got != want {
		t.Errorf("got %q, %q; want %q", got, text(&result.Stderr), want)
	}
}

func TestInput_SealsAndMode(t *testing.T) {
	fd, err := memoryFile("test", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const want = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		t.Errorf("seals: got %#x, %v; want %#x", seals, err, want)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&0o777 != 0o444 {
		t.Errorf("mode: got %o, %v; want 444", stat.Mode&0o777, err)
	}
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	closed, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if flags&unix.O_ACCMODE != unix.O_RDONLY || closed&unix.FD_CLOEXEC == 0 ||
		fd <= scriptDescriptor {
		t.Errorf("got descriptor %d, flags %#x and %#x; want one above %d, read-only, closed on exec",
			fd, flags, closed, scriptDescriptor)
	}
	buffer := make([]byte, 10)
	if n, err := unix.Read(fd, buffer); string(buffer[:max(n, 0)]) != "content" {
		t.Errorf("got %q, %v; want the content from its start", buffer[:max(n, 0)], err)
	}
}

// Each start of the same Command reads its input from the beginning.
func TestInput_OwnOffset(t *testing.T) {
	r := newTestRunner(t)
	c := command("head -c 3")
	c.Stdin = []byte("abcdef")
	for range 3 {
		result := finish(t, start(t, r, c))
		if got := text(&result.Stdout); got != "abc" {
			t.Errorf("got %q, want %q", got, "abc")
		}
	}
}

// Also a command that fails at its birth, or runs on, leaves no descriptor with the daemon.
func TestInput_NoLeak(t *testing.T) {
	r := newTestRunner(t)
	finish(t, start(t, r, command("true")))
	check := leaks(t)
	for _, change := range []func(*Command){
		func(*Command) {},
		func(c *Command) { c.Dir = "/nowhere" },
		func(c *Command) { c.Dir, c.HomeOrRoot = "/nowhere", true },
		func(c *Command) { c.Script.Interpreter = []string{"/nowhere/sh"} },
	} {
		c := scripted(nil, "cat >/dev/null")
		c.Stdin = []byte("x")
		change(&c)
		if p, err := r.Start(c); err == nil {
			if result := finish(t, p); result.ExitCode != 0 {
				t.Errorf("got exit code %d, %q", result.ExitCode, text(&result.Stderr))
			}
		}
	}
	check()
	c := scripted(nil, "echo up; exec sleep 60")
	c.Stdin = []byte("x")
	p := start(t, r, c)
	awaitOutput(t, p)
	for _, name := range descriptors(t) {
		if to, _ := os.Readlink("/proc/self/fd/" + name); strings.HasPrefix(to, "/memfd:") {
			t.Errorf("the daemon holds %s while the command runs", to)
		}
	}
	link, _ := os.Readlink("/proc/" + strconv.Itoa(p.PID()) + "/fd/0")
	if want := "/memfd:stdin (deleted)"; link != want {
		t.Errorf("the command's standard input: got %q, want %q", link, want)
	}
}

func TestScript_Invalid(t *testing.T) {
	r := newTestRunner(t)
	long := strings.Repeat("a", maxArgument)
	for name, c := range map[string]Command{
		"empty":                scripted(nil, ""),
		"relative interpreter": scripted([]string{"python3"}, "x"),
		"empty interpreter":    scripted([]string{""}, "x"),
		"NUL in interpreter":   scripted([]string{"/bin/sh\x00"}, "x"),
		"long option":          scripted([]string{"/bin/sh", long}, "x"),
		"NUL in argument":      scripted(nil, "x", "a\x00"),
		"long argument":        scripted(nil, "x", long),
		"missing interpreter":  scripted([]string{"/nowhere/python"}, "x"),
		"no program":           scripted([]string{"/etc/passwd"}, "x"),
		"a directory":          scripted([]string{"/etc"}, "x"),
	} {
		if _, err := r.Start(c); FaultOf(err) != FaultRequest {
			t.Errorf("%s: got %v, want the request's fault", name, err)
		}
	}
	c := scripted(nil, "x")
	c.Shell = "/nowhere/sh"
	if _, err := r.Start(c); FaultOf(err) != FaultConfiguration {
		t.Errorf("missing shell: got %v, want the configuration's fault", err)
	}
	longest := scripted(nil, "echo ${#1}", long[1:])
	if got := text(&finish(t, start(t, r, longest)).Stdout); got != fmt.Sprintln(maxArgument-1) {
		t.Errorf("longest argument: got %q", got)
	}
}

// The calls of a plain command are those that it had before there were stdin and scripts.
func TestInput_PlainCommandHasNoMoreCalls(t *testing.T) {
	r := newTestRunner(t)
	calls := func(at place) int {
		l := new(callList)
		if err := r.prepare(l, new(command("true")), at); err != nil {
			t.Fatal(err)
		}
		return len(l.calls)
	}
	null := int(r.descriptors.null.Fd())
	plain := place{stdin: null, stdout: null, stderr: null, script: -1, cgroup: -1}
	with := plain
	with.script = null
	if got, want := calls(with), calls(plain)+1; got != want || got > maxCalls {
		t.Errorf("got %d calls with a script, want %d, and at most %d", got, want, maxCalls)
	}
	if in, err := openInputs(new(command("true"))); err != nil || in != (inputs{-1, -1}) {
		t.Errorf("got %+v, %v; want no memory files", in, err)
	}
}

// ps shows neither of them.
func TestInput_NotInPS(t *testing.T) {
	testkit.NeedTools(t, "ps")
	c := scripted(nil, "secret=xyzzy; echo up; sleep 60; :")
	c.Stdin = []byte("plugh")
	p := start(t, newTestRunner(t), c)
	awaitOutput(t, p)
	ps := osexec.Command("ps", "axeww", "-o", "pid,args")
	ps.SysProcAttr = ownGroup()
	out, err := ps.Output()
	if err != nil || bytes.Contains(out, []byte("xyzzy")) || bytes.Contains(out, []byte("plugh")) {
		t.Errorf("got %v, and the script or stdin in the list of ps", err)
	}
	if want := "/bin/sh /dev/fd/3"; !bytes.Contains(out, []byte(want)) {
		t.Errorf("got no %q in the list of ps", want)
	}
}
