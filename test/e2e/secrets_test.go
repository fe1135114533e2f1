package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestKey_CommandCannotReachIt(t *testing.T) { // case 43
	m := installed(t)
	m.place("attack.py", "/srv/attack.py", 0o644)
	c := m.client(defaultAddress)
	out := c.shell(t, fmt.Sprintf("python3 /srv/attack.py %s %s %s 2>&1", c.key, m.executor(), m.network()))
	if out != "tried 2 roles" {
		t.Errorf("the attack printed:\n%s", out)
	}
}

// The control: the attack must find the key where it can be reached.
func TestKey_AttackSucceedsAsRoot(t *testing.T) {
	m := installed(t)
	m.place("attack.py", "/srv/attack.py", 0o644)
	out := m.run("python3", "/srv/attack.py", m.secretKey(), m.executor())
	for _, way := range []string{"configuration can be read", "and holds the key", "ptrace request", "/fd can be listed", "process can be read"} {
		if !strings.Contains(out, way) {
			t.Errorf("did not find %q:\n%s", way, out)
		}
	}
}

// A restarted role must not be readable for a moment: root kills it, and a command tries to read
// the next one. The shell polls a few thousand times a second; the tests of the sandbox poll
// faster.
func TestKey_CommandRacesTheRespawn(t *testing.T) { // case 43
	m := installed(t)
	m.write("/srv/race.py", race)
	m.run("chmod", "a+r", "/srv/race.py")
	c := m.client(defaultAddress)
	c.answer(t, map[string]any{"command": "python3 /srv/race.py $PPID > /tmp/race 2>&1", "wait": false})
	m.eventually("the race is over", func() bool {
		if pid := m.network(); pid != "" {
			_, _ = m.try("kill", "-9", pid)
		}
		out, _ := m.try("tail", "-n", "1", "/tmp/race")
		return strings.HasPrefix(out, "over: ")
	})
	if out := m.run("cat", "/tmp/race"); !strings.HasPrefix(out, "over: won 0 of ") || strings.HasSuffix(out, " 0 roles") {
		t.Error(out)
	}
}

// race tries to read each child of the executor from its start.
const race = `
import os, sys, time
executor, own, seen, won = int(sys.argv[1]), os.getppid(), set(), 0

def children():
    for task in os.listdir("/proc/%d/task" % executor):
        try:
            yield from map(int, open("/proc/%d/task/%s/children" % (executor, task)).read().split())
        except OSError:
            pass

# Opening proves nothing: it succeeds on a dead process, which has no memory left to read.
def attempt(pid):
    global won
    for name, at in ("mem", 0x400000), ("environ", 0), ("maps", 0):
        try:
            fd = os.open("/proc/%d/%s" % (pid, name), os.O_RDONLY)
        except OSError:
            continue
        try:
            if os.pread(fd, 1, at):
                won += 1
                print("read", name, flush=True)
        except OSError:
            pass
        os.close(fd)

until = time.time() + 5
while time.time() < until:
    for pid in children():
        if pid not in (own, os.getpid()):
            attempt(pid)
            seen.add(pid)
print("over: won", won, "of", len(seen), "roles")
`

func TestKey_NoCoreDumpOfTheRoles(t *testing.T) { // case 43
	m := installed(t)
	c := m.client(defaultAddress)
	c.shell(t, "true") // children change the dumpable flag of the memory that they share
	m.run("kill", "-ABRT", m.network())
	m.run("kill", "-ABRT", m.executor())
	m.checkAnswersSoon(defaultAddress)
	if cores := m.sh("find / -xdev -name 'core*' -newer /etc/dataflux-func-sidecar -type f -size +100k ! -path '/proc/*'"); cores != "" {
		t.Errorf("core dumps: %s", cores)
	}
}

func TestCommand_Environment(t *testing.T) { // case 25
	m := installed(t)
	c := m.client(defaultAddress)
	got := strings.Split(c.shell(t, "env | sort"), "\n")
	allowed := []string{"HOME=/home/dffs", "LOGNAME=dffs", "USER=dffs", "SHELL=/bin/sh", "PWD=/home/dffs", "OLDPWD=", "LANG=", "PATH=", "_=", "SHLVL=", "LC_", "SIDECAR_JOB_ID="}
	for _, variable := range got {
		if !slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(variable, prefix) }) {
			t.Errorf("a command's environment holds %s", variable)
		}
	}
	for _, name := range []string{"LISTEN_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "WATCHDOG", "INVOCATION_ID", "JOURNAL_STREAM", c.key} {
		if strings.Contains(strings.Join(got, "\n"), name) {
			t.Errorf("a command's environment holds %s", name)
		}
	}
}

func TestCommand_LoginOfDffs(t *testing.T) { // cases 26 and 29
	m := installed(t)
	m.sh("groupadd monitoring; usermod -aG monitoring dffs; systemctl restart " + service)
	c := m.client(defaultAddress)
	for command, want := range map[string]string{
		"id -un; id -Gn":                     "dffs\ndffs monitoring",
		"umask":                              "0022",
		"pwd":                                "/home/dffs",
		"ls -l /proc/self/fd | wc -l":        "5", // 0, 1, 2, the listed folder, and the line of the total
		"readlink /proc/self/fd/0":           "/dev/null",
		"ulimit -Sn; ulimit -Sc; ulimit -Hc": "1024\n0\nunlimited",
		"yes | head -n 1":                    "y",
		"grep -E '^(SigBlk|CapPrm|CapEff|NoNewPrivs)' /proc/self/status | tr -s '\\t\\n' '  '": "SigBlk: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 NoNewPrivs: 1 ",
	} {
		if got := c.shell(t, command); got != want {
			t.Errorf("%s printed %q, want %q", command, got, want)
		}
	}
	// The C library uses signals 32 and 33. make leaves them ignored in this test, and so in PID 1
	// of the machine.
	const reserved = 1<<31 | 1<<32
	ignored, err := strconv.ParseUint(c.shell(t, "sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status"), 16, 64)
	if err != nil || ignored&^reserved != 0 {
		t.Errorf("a command ignores signals %#x, %v", ignored, err)
	}
}
