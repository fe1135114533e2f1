package system

import (
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// Case 19: standard input is empty.
func TestEnvironment_EmptyStandardInput(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("readlink /proc/self/fd/0; cat; read x; echo $?")
	if a.Data.Stdout != "/dev/null\n1\n" {
		t.Errorf("got %s", a.body)
	}
}

// Cases 24 and 25: the environment is that of a login, whatever the request or the daemon has.
func TestEnvironment_OfALogin(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.sign("POST", "/shell", `{"command":"env; echo; cat /proc/$PPID/environ; tr '\\0' '\\n' < /proc/self/environ"}`)
	a := d.exchange(r.raw("User-Agent: canary-agent", "X-Canary: canary-header", "Cookie: canary=1", "Authorization: Basic canary", "Proxy: http://canary", "HTTP_CANARY: 1"))
	if a.Data == nil {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if text := strings.ToLower(a.Data.Stdout + a.Data.Stderr); strings.Contains(text, "canary") || strings.Contains(text, testKey) || strings.Contains(text, "listen_") || strings.Contains(text, "notify_socket") {
		t.Errorf("something got into the environment:\n%s", text)
	}
	own, _, _ := strings.Cut(a.Data.Stdout, "\n\n")
	var names []string
	for _, line := range strings.Split(own, "\n") {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "HOME LANG LOGNAME PATH PWD SHELL USER" {
		t.Errorf("the variables are %s:\n%s", got, own)
	}
}

// The run user of these tests, nobody, has a login shell that no program could use: nologin.
func TestEnvironment_ShellIsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	for want, lines := range map[string][]string{"/bin/sh": nil, "/bin/bash": {`SHELL = "/bin/bash"`}} {
		if a := startDaemon(t, lines...).run("echo $SHELL"); a.Data.Stdout != want+"\n" {
			t.Errorf("SHELL is %s, want %s", a.Data.Stdout, want)
		}
	}
	testkit.NeedTools(t, "script")
	if a := startDaemon(t).run("script -qec 'echo it works' /dev/null"); !strings.Contains(a.Data.Stdout, "it works") {
		t.Errorf("script: %s", a.body)
	}
}

func TestEnvironment_OfTheConfiguration(t *testing.T) {
	t.Parallel()
	inline := []string{`ENVIRONMENT = { CANARY_PROXY = "http://u:canary-value@p:3128", PATH = "/opt/x/bin:/usr/bin:/bin", SHELL = "/bin/zsh", LANG = "C" }`}
	table := []string{"[ENVIRONMENT]", `CANARY_PROXY = "http://u:canary-value@p:3128"`, `PATH = "/opt/x/bin:/usr/bin:/bin"`, `SHELL = "/bin/zsh"`, `LANG = "C"`}
	for _, lines := range [][]string{inline, table} {
		d := startDaemon(t, lines...)
		const command = `{"command":"echo $CANARY_PROXY $PATH $SHELL $LANG $USER"`
		for envs, want := range map[string]string{
			``:                                   "http://u:canary-value@p:3128 /opt/x/bin:/usr/bin:/bin /bin/zsh C nobody\n",
			`,"envs":["CANARY_PROXY=","LANG=x"]`: "/opt/x/bin:/usr/bin:/bin /bin/zsh x nobody\n",
		} {
			a := d.send(d.sign("POST", "/shell", command+envs+"}"))
			if os.Geteuid() != 0 {
				want = strings.Replace(want, "nobody", os.Getenv("USER"), 1)
			}
			if a.Data == nil || a.Data.Stdout != want {
				t.Errorf("%s: got %s, want %s", envs, a.body, want)
			}
		}
		// The roles do not have the variable: callbacks use no proxy.
		if os.Geteuid() == 0 {
			for _, pid := range []int{d.pid, d.networkPID()} {
				if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err != nil || strings.Contains(string(text), "canary-value") {
					t.Errorf("the environment of process %d: %v %s", pid, err, text)
				}
			}
		}
		if strings.Contains(d.log(), "canary-value") {
			t.Errorf("the log shows a value:\n%s", d.log())
		}
	}
}

// Case 26: a command has its three standard descriptors and no other.
func TestEnvironment_Descriptors(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("ls -l /proc/$$/fd")
	open := regexp.MustCompile(` (\d+) -> `).FindAllStringSubmatch(a.Data.Stdout, -1)
	var numbers []string
	for _, match := range open {
		numbers = append(numbers, match[1])
	}
	if got := strings.Join(numbers, " "); got != "0 1 2" {
		t.Errorf("open are %s:\n%s", got, a.Data.Stdout)
	}
}

// Case 29: umask, limits, signals and groups are those of a login.
func TestEnvironment_UmaskLimitsSignalsGroups(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	if a := d.run("umask"); a.Data.Stdout != "0022\n" {
		t.Errorf("umask %s", a.Data.Stdout)
	}
	const limits = "grep -E 'Max (open files|core|cpu|stack|file size|locked)' /proc/self/limits"
	here, err := exec.Command("/bin/sh", "-c", limits).Output()
	if a := d.run(limits); err != nil || a.Data.Stdout != string(here) {
		t.Errorf("%v: limits are\n%s, and without the daemon\n%s", err, a.Data.Stdout, here)
	}
	a := d.run("grep -E '^(SigBlk|SigIgn)' /proc/self/status | cut -f2; echo; ps -o sid= -o pgid= -p $$; echo $$")
	// The C library uses signal 32: make leaves it ignored in its children.
	if sets := strings.Replace(a.Data.Stdout, "\n0000000080000000\n", "\n0000000000000000\n", 1); !strings.HasPrefix(sets, "0000000000000000\n0000000000000000\n\n") {
		t.Errorf("blocked and ignored signals: %s", a.Data.Stdout)
	}
	who := "nobody"
	if os.Geteuid() != 0 {
		current, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		who = current.Username
	}
	if a := d.run("id -un; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u"); a.Data.Stdout != who+"\n0000000000000000\n" {
		t.Errorf("user and capabilities: %s", a.Data.Stdout)
	}
	groups, err := exec.Command("id", "-G", who).Output()
	if a := d.run("id -G"); err != nil || a.Data.Stdout != string(groups) {
		t.Errorf("%v: groups are %s, want %s", err, a.Data.Stdout, groups)
	}
}

func TestEnvironment_ProcessGroup(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("cut -d' ' -f5 /proc/$$/stat; echo $$")
	group, pid, _ := strings.Cut(a.Data.Stdout, "\n")
	if group == "" || group != strings.TrimSpace(pid) {
		t.Errorf("got %q", a.Data.Stdout)
	}
}

// Case 43: no file or process that a command can read holds the key. The tests of privsep/ attack
// both roles from inside.
func TestEnvironment_KeyIsNowhere(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t)
	for _, attempt := range []string{"cat mem", "cat environ", "cat maps", "cat auxv", "ls fd/", "ls cwd/", "ls root/"} {
		for role, pid := range map[string]string{"executor": "$PPID", "network role": strconv.Itoa(d.networkPID())} {
			tool, path, _ := strings.Cut(attempt, " ")
			a := d.run(tool + " /proc/" + pid + "/" + path + " && echo REACHED")
			if strings.Contains(a.Data.Stdout, "REACHED") {
				t.Errorf("%s of the %s: %s", attempt, role, a.body)
			}
		}
	}
	a := d.run("tr '\\0' ' ' < /proc/$PPID/cmdline; cat " + d.config)
	if strings.Contains(a.Data.Stdout, testKey) || a.Data.Stdout == "" {
		t.Errorf("got %s", a.body)
	}
}
