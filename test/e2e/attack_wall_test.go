package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// onProcess lists a command's attempts on a role, each with the answer.
var onProcess = map[string]string{
	"SIGKILL to the ":                      "EPERM",
	"SIGSTOP to the ":                      "EPERM",
	"SIGTERM to the ":                      "EPERM",
	"SIGHUP to the ":                       "EPERM",
	"SIGCONT to the ":                      "allowed", // always allowed within a session; it has no effect here
	"SIGABRT to the ":                      "EPERM",
	"pidfd_send_signal to the ":            "EPERM",
	"SIGKILL to the process group of the ": "EPERM",
	"prlimit --nofile=3 of the ":           "EPERM",
	"prlimit --cpu=1 of the ":              "EPERM",
	"PTRACE_ATTACH to the ":                "EPERM",
	"PTRACE_SEIZE of the ":                 "EPERM",
	"mem of the ":                          "EACCES",
	"process_vm_writev to the ":            "EPERM",
	"oom_score_adj of the ":                "EACCES",
	"coredump_filter of the ":              "EACCES",
	"ioprio_set of the ":                   "EPERM",
}

// onPriority lists attempts that the kernel decides by the effective uid. The executor's is that of
// the commands.
var onPriority = []string{"renice of the ", "sched_setaffinity of the ", "SCHED_BATCH of the "}

// onCgroup lists a command's attempts on a cgroup, each with the answer.
var onCgroup = map[string]string{
	"write cgroup.freeze of %":          "EACCES",
	"write cgroup.kill of %":            "EACCES",
	"write cgroup.max.descendants of %": "EACCES",
	"write cgroup.subtree_control of %": "EACCES",
	"make % threaded":                   "EACCES",
	"move the executor into %":          "EACCES",
	"move itself into %":                "EACCES",
	"be born in %":                      "EACCES",
	"make a cgroup in %":                "EACCES",
	"chmod of %":                        "EPERM",
	"chmod of cgroup.procs of %":        "EPERM",
	"chown of %":                        "EPERM",
	"remove %":                          "EACCES",
	"setxattr of %":                     "EACCES",
}

var attackedCgroups = []string{
	"the unit's cgroup", "the daemon's cgroup", "the cgroup of the jobs", "an idle job's cgroup", "the command's own cgroup",
}

// onIDs lists a command's attempts to become another user, each with the answer.
var onIDs = map[string]string{
	"become the user of the roles":     "EPERM",
	"become it by its saved uid alone": "EPERM",
	"become the group of the roles":    "EPERM",
	"become root":                      "EPERM",
}

// refusals are all attempts of attacks/refused.py with the answer to each.
func refusals() map[string]string {
	all := map[string]string{"make 100,000 cgroups": "EACCES"}
	maps.Copy(all, onIDs)
	for _, role := range []string{"executor", "network role"} {
		for attempt, answer := range onProcess {
			all[attempt+role] = answer
		}
	}
	for _, attempt := range onPriority {
		all[attempt+"executor"] = "allowed"
		all[attempt+"network role"] = "EPERM"
	}
	for attempt, answer := range onCgroup {
		for _, cgroup := range attackedCgroups {
			all[strings.ReplaceAll(attempt, "%", cgroup)] = answer
		}
	}
	return all
}

// answers parses the output of attacks/refused.py.
func answers(output string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(output) {
		attempt, answer, _ := strings.Cut(strings.TrimSpace(line), ": ")
		all[attempt] = answer
	}
	return all
}

func compareAnswers(t *testing.T, got, want map[string]string) {
	t.Helper()
	for _, attempt := range slices.Sorted(maps.Keys(want)) {
		if got[attempt] != want[attempt] {
			t.Errorf("%s: got %q, want %q", attempt, got[attempt], want[attempt])
		}
	}
	for _, attempt := range slices.Sorted(maps.Keys(got)) {
		if want[attempt] == "" {
			t.Errorf("%s: got %q, and it is in no table", attempt, got[attempt])
		}
	}
}

func (tg target) refused(t *testing.T) string {
	t.Helper()
	uid := tg.m.run("id", "-u", roleUser)
	return tg.attacked(t, `python3 /srv/refused.py "$EXECUTOR" "$NETWORK" "$UNIT" `+uid)
}

// refusalsOfProcesses returns the refusals that need no cgroup.
func refusalsOfProcesses() map[string]string {
	all := refusals()
	maps.DeleteFunc(all, func(attempt, _ string) bool { return strings.Contains(attempt, "cgroup") })
	return all
}

func testRefused(t *testing.T, tg target) {
	tg.warm()
	tg.standing(t, func() { compareAnswers(t, answers(tg.refused(t)), refusals()) })
}

// The control: the same attempts on processes and cgroups of the attacker.
func testRefusedControl(t *testing.T, tg target) {
	const unit = "/sys/fs/cgroup/system.slice/own.service"
	out := tg.m.run("systemd-run", "--quiet", "--pipe", "--wait", "--unit=own", "-p", "User=dffs", "-p", "Delegate=yes",
		"sh", "-c", "mkdir "+unit+"/self && echo 0 > "+unit+"/self/cgroup.procs; exec python3 /srv/refused.py own "+unit)
	want := refusals()
	for attempt := range want {
		want[attempt] = "allowed"
	}
	maps.DeleteFunc(want, func(attempt, _ string) bool { return onIDs[attempt] != "" })
	compareAnswers(t, answers(out), want)
}

// damages lists attacks by their effect. Each must leave the installed daemon unaffected, and must
// stop a daemon whose roles have the user of the commands.
var damages = []struct{ name, attack string }{
	{"kill -9 of both roles", `kill -9 $NETWORK $EXECUTOR; true`},
	{"kill -9 of everything", `kill -9 -1; true`},
	{"SIGSTOP of the executor", `kill -STOP $EXECUTOR; true`},
	{"SIGSTOP of the network role", `kill -STOP $NETWORK; true`},
	{"signals of a pipe", `python3 /srv/sigio.py $EXECUTOR $NETWORK`},
	{"limits", `prlimit --nofile=3 --pid $EXECUTOR; prlimit --nofile=3 --pid $NETWORK; true`},
	{"the executor moved into a job", `mkdir $UNIT/jobs/evil; echo $EXECUTOR > $UNIT/jobs/evil/cgroup.procs; true`},
	{"frozen cgroups", `for folder in $UNIT/jobs/*/; do [ -n "$(cat $folder/cgroup.procs)" ] || echo 1 > $folder/cgroup.freeze; done; true`},
}

// TestAttack_Wall tries every attempt of a command on the daemon.
func TestAttack_Wall(t *testing.T) {
	tg := attackable(t)
	t.Run("refused", func(t *testing.T) { testRefused(t, tg.in(t)) })
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			tg := tg.in(t)
			tg.warm()
			tg.standing(t, func() { tg.attacked(t, d.attack) })
		})
	}
}

// TestAttack_WallControl checks that the attacks of TestAttack_Wall succeed without the defence.
func TestAttack_WallControl(t *testing.T) {
	tg := attackable(t)
	t.Run("refused", func(t *testing.T) { testRefusedControl(t, tg.in(t)) })
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			bare := tg.in(t).bare()
			bare.warm()
			// The answer must be sent before the attack ends its sender.
			if _, err := bare.attack("sleep 0.5; " + d.attack); err != nil {
				t.Fatal(err)
			}
			bare.fallen(t)
		})
	}
}
