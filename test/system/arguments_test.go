package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const longestArgument = 128<<10 - 1 // the limit of the kernel, without the NUL

// Case 21: a command or variable above the kernel's limit is refused before it starts.
func TestArguments_BeyondTheKernelsLimit(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_BODY = 4000000")
	pad := func(n int) string { return "echo ran #" + strings.Repeat("x", n-10) }
	if a := d.run(pad(longestArgument)); a.Data.Stdout != "ran\n" {
		t.Errorf("128 KiB - 1: %.200s", a.body)
	}
	variable := func(n int) fields {
		return fields{"command": "echo ${#A}", "envs": fields{"A": strings.Repeat("x", n-2)}}
	}
	if a := d.shell(variable(longestArgument)); a.Data.Stdout != fmt.Sprintln(longestArgument-2) {
		t.Errorf("a variable of 128 KiB - 1: %.200s", a.body)
	}
	started := strings.Count(d.log(), "Command started")
	for _, n := range []int{longestArgument + 1, 1 << 20} {
		a := d.try200(fields{"command": pad(n), "wait": false})
		a.wantRefusal(t, 400, "bytes")
		d.try200(variable(n)).wantRefusal(t, 400, `"A"`)
	}
	many := fields{}
	for i := range 30 {
		many[fmt.Sprintf("V%d", i)] = strings.Repeat("x", 100<<10)
	}
	a := d.try200(fields{"command": "echo ran", "envs": many, "wait": false})
	if a.status != 200 && a.status != 400 {
		t.Errorf("3 MB of variables: got %d %.500s", a.status, a.body)
	}
	if n := strings.Count(d.log(), "Command started"); a.status == 400 && n != started {
		t.Errorf("%d commands were started", n-started)
	}
}

// Case 22: empty commands and commands with NUL are refused; a leading dash is not an option.
func TestArguments_EmptyNULAndDash(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, command := range []string{"", "   ", "\n"} {
		d.try200(fields{"command": command}).wantRefusal(t, 400, "empty")
	}
	d.try200(fields{"command": "echo a\x00b"}).wantRefusal(t, 400, "NUL")
	d.wantNothingRun()
	for _, command := range []string{"-c", "-x echo", "--help", "+x"} {
		a := d.run(command)
		if a.Data.ExitCode == nil || *a.Data.ExitCode != 127 || !strings.Contains(a.Data.Stderr, "not found") {
			t.Errorf("%q was taken for an option: %s", command, a.body)
		}
	}
}

// Case 23: malformed variables are refused, and their values are not shown.
func TestArguments_MalformedVariables(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for envs, hint := range map[string]string{
		`["canary-value"]`: "NAME=value", `["=canary-value"]`: "NAME=value", `["A=canary-value\u0000"]`: "NUL",
		`["A=canary-value",7]`: "entry 2", `{"A":["canary-value"]}`: `"A"`, `{"A=B":"canary-value"}`: "'='",
		`{"":"canary-value"}`: "no name", `{"A":"canary-value","A":"canary-value"}`: "twice", `{"A":7}`: `"A"`,
		`{"A\u0000":"canary-value"}`: "NUL", `true`: "must be a list",
	} {
		a := d.send(d.sign("POST", "/shell", `{"command":"true","envs":`+envs+`}`))
		a.wantRefusal(t, 400, hint)
		if strings.Contains(a.body, "canary-value") {
			t.Errorf("%s: the answer tells the value: %s", envs, a.body)
		}
	}
	d.wantNothingRun()
	if strings.Contains(d.log(), "canary-value") {
		t.Errorf("the log tells a value:\n%s", d.log())
	}
}

// Case 23: variables that change how programs start affect the command only, not the daemon.
func TestArguments_LoaderVariables(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	dir := sharedDir(t)
	if err := os.WriteFile(filepath.Join(dir, "start"), []byte("echo sourced\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	envs := fields{
		"LD_PRELOAD": "/canary/no.so", "BASH_ENV": filepath.Join(dir, "start"), "ENV": filepath.Join(dir, "start"), "IFS": "x", "PATH": "/nowhere",
		"GODEBUG": "http2debug=2", "GOMAXPROCS": "1", "HTTP_PROXY": "http://127.0.0.1:1", "SHELL": "/bin/false", "HOME": "/nowhere",
	}
	a := d.shell(fields{"command": "echo run; echo $PATH", "envs": envs})
	if a.Data.Stdout != "run\n/nowhere\n" {
		t.Errorf("got %s", a.body)
	}
	if after := d.run("echo clean; echo $PATH $LD_PRELOAD"); after.Data.Stdout != "clean\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n" || after.Data.Stderr != "" {
		t.Errorf("afterwards: %s", after.body)
	}
}

// Case 27: an unusable working directory is refused with its reason.
func TestArguments_UnusableWorkdir(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	dir := sharedDir(t)
	closed, file, link := filepath.Join(dir, "closed"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	for _, err := range []error{os.Mkdir(closed, 0o700), os.WriteFile(file, nil, 0o644), os.Symlink(dir, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := map[string]string{
		dir + "/missing": "create it", file: "name a directory", "relative": "absolute", "/proc/self/fd/3": "create it", // closed in the child
		"/proc/self/cwd": "link", "/\x00": "NUL", "/" + strings.Repeat("x/", 4000): "shorter path", "/proc/self/fd/0": "",
	}
	if os.Geteuid() == 0 {
		refused[closed] = "enter it"
	}
	for workdir, hint := range refused {
		d.try200(fields{"command": "pwd", "workdir": workdir}).wantRefusal(t, 400, hint)
	}
	d.wantNothingRun()
	for workdir, want := range map[string]string{dir: dir, link: dir, dir + "/../": filepath.Dir(dir), "/": "/"} {
		if a := d.shell(fields{"command": "pwd -P", "workdir": workdir}); a.Data.Stdout != want+"\n" {
			t.Errorf("%s: got %s", workdir, a.body)
		}
	}
	gone := filepath.Join(dir, "gone")
	a := d.shell(fields{"command": fmt.Sprintf("mkdir %s && cd %s && rmdir %s && ls && echo ok", gone, gone, gone)})
	if a.Data.Stdout != "ok\n" {
		t.Errorf("a directory deleted meanwhile: %s", a.body)
	}
}

// Case 28: a timeout outside its bounds is refused.
func TestArguments_TimeoutOutOfBounds(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, timeout := range []string{"0", "-1", "1e18", "1e400", "0.0001", `"5"`, "604801", "true", "[1]", "NaN"} {
		a := d.send(d.sign("POST", "/shell", `{"command":"true","timeout":`+timeout+`}`))
		hint := "seconds"
		if timeout == "NaN" {
			hint = "not valid JSON"
		}
		a.wantRefusal(t, 400, hint)
	}
	d.wantNothingRun()
	for _, timeout := range []string{"30", "3e1", "30.5", "604800", "null"} {
		if a := d.send(d.sign("POST", "/shell", `{"command":"true","timeout":`+timeout+`}`)); a.status != 200 {
			t.Errorf("timeout %s: got %d %s", timeout, a.status, a.body)
		}
	}
}
