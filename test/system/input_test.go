package system

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

func TestInput_Answers(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	encoded := base64.StdEncoding.EncodeToString(every)
	long := strings.Repeat("one line of input é漢🙂\n", 20000)
	for name, c := range map[string]struct {
		body fields
		want string
	}{
		"none":     {fields{"command": "readlink /proc/self/fd/0; cat"}, "/dev/null\n"},
		"text":     {fields{"command": "cat", "stdin": "a\x00b\r\nno newline"}, "a\x00b\r\nno newline"},
		"bytes":    {fields{"command": "base64 -w0", "stdinBase64": encoded}, encoded},
		"long":     {fields{"command": "sha256sum", "stdin": long}, fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(long)))},
		"in parts": {fields{"command": "head -c 1; sh -c 'head -c 2'; cat", "stdin": "abcdef"}, "abcdef"},
		"empty":    {fields{"command": "readlink /proc/self/fd/0", "stdin": ""}, "/dev/null\n"},
		"script":   {fields{"script": "echo \"$# $1\"\ncat\n", "args": []string{"$(id)", "b"}, "stdin": "x"}, "2 $(id)\nx"},
		"python": {fields{
			"script":      "import sys\nprint(sys.argv[1:], sys.stdin.read())\n",
			"interpreter": []string{"/usr/bin/python3", "-I"}, "args": []string{"a b"}, "stdin": "x",
		}, "['a b'] x\n"},
		"perl": {fields{
			"scriptBase64": base64.StdEncoding.EncodeToString([]byte(`print "@ARGV ", <STDIN>`)),
			"interpreter":  []string{"/usr/bin/perl", "-w"}, "args": []string{"a b"}, "stdin": "x",
		}, "a b x"},
		"bash":      {fields{"script": "echo ${BASH_VERSION:+bash}", "interpreter": []string{"/bin/bash"}}, "bash\n"},
		"directory": {fields{"script": "pwd", "workdir": "/usr"}, "/usr\n"},
		"variables": {fields{"script": "echo $A", "envs": fields{"A": "b"}}, "b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := d.try200(c.body); a.status != 200 || a.Data.Stdout != c.want {
				t.Errorf("got %d %.300s, want %.100q", a.status, a.body, c.want)
			}
		})
	}
}

func TestInput_Refusals(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for name, c := range map[string]struct {
		body fields
		hint string
	}{
		"script and command":   {fields{"script": "x", "command": "y"}, "are there both"},
		"interpreter alone":    {fields{"command": "x", "interpreter": []string{"/bin/sh"}}, "it is for a script"},
		"relative interpreter": {fields{"script": "x", "interpreter": []string{"sh"}}, "not an absolute path"},
		"no such interpreter":  {fields{"script": "x", "interpreter": []string{"/nowhere"}}, "cannot run the interpreter"},
		"not executable":       {fields{"script": "x", "interpreter": []string{"/etc/passwd"}}, "cannot run the interpreter"},
		"NUL":                  {fields{"script": "x", "args": []string{"\x00"}}, "NUL byte"},
		"long argument":        {fields{"script": "x", "args": []string{strings.Repeat("a", 131072)}}, "131072 bytes"},
		"many arguments":       {fields{"script": "x", "args": make([]string, 1001)}, "at most 1000"},
		"not base64":           {fields{"command": "cat", "stdinBase64": "*"}, "base64"},
	} {
		t.Run(name, func(t *testing.T) { d.try200(c.body).wantRefusal(t, 400, c.hint) })
	}
}

// Case 26: a script is the one descriptor more. Neither it nor stdin is in the arguments or the
// environment of any process, nor in the journal but for the script's first line.
func TestInput_DescriptorsAndSecrets(t *testing.T) {
	t.Parallel()
	const secret = "CANARY-OF-INPUT"
	d := startDaemon(t)
	const look = "ls -l /proc/$$/fd\n" +
		"cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr -d '\\0' | grep -c '[C]ANARY-OF-INPUT'"
	a := d.shell(fields{"script": look + "; : " + secret + "\n", "stdin": secret, "jobId": "it"})
	numbers := regexp.MustCompile(`(?m) (\d+) -> (.*)$`).FindAllStringSubmatch(a.Data.Stdout, -1)
	if len(numbers) == 0 {
		t.Fatalf("got %s", a.body)
	}
	for _, n := range numbers {
		number, _ := strconv.Atoi(n[1])
		own := number >= 10 && n[2] == "/dev/fd/3" || strings.HasPrefix(n[2], "/memfd:script") // of the shell
		if number > 3 && !own {
			t.Errorf("descriptor %d is open: %s", number, n[2])
		}
	}
	for _, want := range []string{" 0 -> /memfd:stdin (deleted)\n", " 3 -> /memfd:script (deleted)\n"} {
		if !strings.Contains(a.Data.Stdout, want) {
			t.Errorf("got no %q in\n%s", want, a.Data.Stdout)
		}
	}
	if !strings.HasSuffix(a.Data.Stdout, "\n0\n") {
		t.Errorf("processes have it among arguments or variables:\n%s", a.Data.Stdout)
	}
	d.awaitLog("Command finished")
	if strings.Contains(d.log(), secret) {
		t.Errorf("it is in the log:\n%s", d.log())
	}
	for _, want := range []string{"SIDECAR_STDIN_BYTES=15", "SIDECAR_SCRIPT_SHA256=", `bytes, \"/bin/sh\": \"ls -l /proc/$$/fd\"`} {
		if !strings.Contains(d.log(), want) {
			t.Errorf("got no %s in the log:\n%s", want, d.log())
		}
	}
	if got := d.job("it").Command; !regexp.MustCompile(`^script \(\d+ bytes\)$`).MatchString(got) {
		t.Errorf("the job's command: got %q", got)
	}
	if a := d.run("ls /proc/$$/fd"); a.Data.Stdout != "0\n1\n2\n" {
		t.Errorf("a plain command: got the descriptors %q", a.Data.Stdout)
	}
}

// Named keys and actions: see also TestAction_Input of the executor.
func TestInput_Actions(t *testing.T) {
	t.Parallel()
	witness := filepath.Join(sharedDir(t), "witness")
	d := startDaemon(t, policyLines(
		`[ACTION.load]`, `RUN = "cat"`, `STDIN = true`,
		`[KEY.loader]`, `SECRET = "canary-loader-key-0123456789"`, `ACTIONS = ["load", "status"]`)...)
	loader := d.as("canary-loader-key-0123456789")
	if a := loader.shell(fields{"command": "load", "stdin": "$(touch " + witness + ")\n"}); !strings.HasPrefix(a.Data.Stdout, "$(touch") {
		t.Errorf("got %s", a.body)
	}
	touch := "touch " + witness
	loader.try200(fields{"command": "status", "stdin": "x"}).wantRefusal(t, 400, "the action status takes none")
	loader.try200(fields{"script": touch}).wantRefusal(t, 403, "may run the actions load, status")
	loader.try200(fields{"script": touch, "action": "load"}).wantRefusal(t, 400, "are there both")
	loader.try200(fields{"action": "load", "interpreter": []string{"/bin/sh"}, "stdin": touch}).wantRefusal(t, 400, "it is for a script")
	d.as(viewKey).try200(fields{"script": touch}).wantRefusal(t, 403, "may run nothing")
	if _, err := os.Stat(witness); err == nil {
		t.Error("a script has run")
	}
	if a := loader.send(loader.sign("GET", "/actions", "")); !strings.Contains(a.body, `"name":"load","description":"","envs":{},"stdin":true`) {
		t.Errorf("got the actions %s", a.body)
	}
}

// The same id with other input is another request.
func TestInput_JobID(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	first := fields{"command": "cat", "stdin": "a", "jobId": "it"}
	d.shell(first)
	if a := d.shell(fields{"command": "cat", "stdinBase64": "YQ==", "jobId": "it"}); !strings.Contains(a.body, `"repeated":true`) {
		t.Errorf("got %s", a.body)
	}
	for _, other := range []fields{
		{"command": "cat", "stdin": "b"}, {"command": "cat"}, {"script": "cat", "stdin": "a"},
	} {
		other["jobId"] = "it"
		d.try200(other).wantRefusal(t, 422, "another request")
	}
}

// A running command goes on with its input across reloads, and a queued one gets all of its own.
func TestInput_Reload(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 2")
	end := filepath.Join(sharedDir(t), "end")
	script := "read first; until test -e " + end + "; do sleep 0.01; done\necho $first; cat\necho $1 # end\n"
	text := "one\n" + strings.Repeat("two\n", 50000)
	post := func(id string) *wire {
		return d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"script": script, "args": []string{id}, "stdin": text, "jobId": id})).raw())
	}
	running := post("running")
	d.awaitLog("Command started")
	queued := post("queued")
	d.eventually("one is queued", func() bool { return d.jobs()["queued"].State == "queued" })
	for range 3 {
		d.wantReloaded()
	}
	for _, link := range descriptorsOf(t, d.pid) {
		if strings.HasPrefix(link, "/memfd:stdin") || strings.HasPrefix(link, "/memfd:script") {
			t.Errorf("the daemon holds %s", link)
		}
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for id, c := range map[string]*wire{"running": running, "queued": queued} {
		if a := c.answer("POST"); a.Data == nil || a.Data.Stdout != text+id+"\n" {
			t.Errorf("%s: got %d %.300s", id, a.status, a.body)
		}
	}
}

func descriptorsOf(t *testing.T, pid int) (links []string) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || os.Geteuid() == 0 && len(names) == 0 {
		t.Fatalf("got %d descriptors of the daemon, %v", len(names), err)
	}
	for _, name := range names {
		link, _ := os.Readlink(name)
		links = append(links, link)
	}
	return links
}

// A crash ends the command, and what is left says what it was.
func TestInput_Crash(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.shell(fields{"script": "sleep 600", "stdin": "x", "wait": false, "jobId": "it"})
	d.awaitLog("Command started")
	pid := int(d.job("it").PID)
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	d.signal(d.pid, syscall.SIGKILL)
	d.awaitEnd()
	d.start()
	if j := d.job("it"); j.State != "ended" || j.Command != "script (9 bytes)" {
		t.Errorf("got %+v", j)
	}
	d.try200(fields{"script": "sleep 601", "stdin": "x", "wait": false, "jobId": "it"}).wantRefusal(t, 422, "another request")
}

// The largest bodies, and the bound of what all hold together.
func TestInput_Bounds(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t) // reads the daemon's descriptors
	d := startDaemon(t, `MAX_BODY = 16777216`, "MAX_RUNNING = 10")
	large := strings.Repeat("0123456789abcdef", 1<<20-64)
	for i := range 4 {
		d.shell(fields{"command": "sha256sum; exec sleep 600", "stdin": large, "wait": false, "jobId": strconv.Itoa(i)})
	}
	sum := fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(large)))
	d.eventually("the whole input was read", func() bool { return d.job("3").Stdout == sum })
	more := fields{"command": "wc -c", "stdin": strings.Repeat("x", 100_000)}
	d.try200(more).wantRefusal(t, 503, "64 MiB together")
	if a := d.shell(fields{"command": "cat", "stdin": "small"}); a.Data.Stdout != "small" {
		t.Errorf("got %s", a.body)
	}
	d.send(d.sign("DELETE", "/jobs/0", ""))
	d.eventually("one has ended", func() bool { return d.jobs()["0"].State == "ended" })
	if a := d.shell(more); a.Data.Stdout != "100000\n" {
		t.Errorf("got %s", a.body)
	}
	for _, link := range descriptorsOf(t, d.pid) {
		if strings.HasPrefix(link, "/memfd:") {
			t.Errorf("the daemon holds %s", link)
		}
	}
	for i := 1; i < 4; i++ {
		d.send(d.sign("DELETE", "/jobs/"+strconv.Itoa(i), ""))
	}
}
