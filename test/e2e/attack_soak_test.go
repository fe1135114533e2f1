package e2e

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostile lists commands that attack for ten seconds at most. None of them signals a process that
// may be another command, because commands are not separated from each other.
var hostile = map[string]string{
	"signals": `for i in $(seq 200); do for s in KILL STOP TERM ABRT; do kill -$s $EXECUTOR $NETWORK; done; sleep 0.02; done`,
	"limits":  `for i in $(seq 20); do prlimit --nofile=3 --pid $EXECUTOR; prlimit --nproc=1 --pid $NETWORK; renice 5 $EXECUTOR; sleep 0.2; done`,
	"cgroups": `for i in $(seq 20); do for f in $(find $UNIT -name 'cgroup.*'); do echo 1 > $f; done; mkdir $UNIT/jobs/evil$i; chmod 777 $UNIT/jobs/*; sleep 0.2; done`,
	"moves":   `for i in $(seq 50); do for f in $UNIT/jobs/*/cgroup.procs $UNIT/daemon/cgroup.procs; do echo $EXECUTOR > $f; echo $$ > $f; done; sleep 0.1; done`,
	"stops":   `/srv/newborns stop $EXECUTOR 4`,
	"kills":   `/srv/newborns kill $EXECUTOR 4`,
	"pipes":   `rm -f /tmp/soak-$$; python3 /srv/fuse.py released /tmp/soak-$$ & until [ -e /tmp/soak-$$ ]; do sleep 0.1; done; (sleep 3; kill -9 $(cat /tmp/soak-$$)) & `,
	"budgets": `python3 /srv/budgets.py /dev/null & sleep 5; kill $!`,
	"journal": `python3 /srv/journal.py flood 3000; sleep 2`,
	"traced":  `exec python3 /srv/traceme.py`,
	"sigio":   `for i in $(seq 20); do python3 /srv/sigio.py $EXECUTOR $NETWORK; sleep 0.3; done`,
	"output":  `timeout 3 yes; timeout 3 yes >&2`,
	"refused": `python3 /srv/refused.py $EXECUTOR $NETWORK $UNIT 1`,
}

func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SIDECAR_SOAK")
	if text == "" {
		return 10 * time.Second
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SIDECAR_SOAK must be a duration such as 30m: %v", err)
	}
	return duration
}

// keepAttacking repeats each hostile command until the time is over.
func (tg target) keepAttacking(until time.Time) (workers *sync.WaitGroup, made *atomic.Int64) {
	workers, made = new(sync.WaitGroup), new(atomic.Int64)
	executor, network, _ := tg.pids()
	envs := map[string]string{"EXECUTOR": executor, "NETWORK": network, "UNIT": "/sys/fs/cgroup/system.slice/" + tg.unit}
	c := tg.m.client(defaultAddress)
	for _, command := range hostile {
		workers.Go(func() {
			for time.Now().Before(until) {
				_, _, _ = c.post(map[string]any{"command": command, "timeout": 10, "envs": envs})
				made.Add(1)
			}
		})
	}
	return workers, made
}

// TestAttack_Soak runs ordinary and hostile commands at the same time, for SIDECAR_SOAK.
func TestAttack_Soak(t *testing.T) {
	tg := attackable(t)
	tg.m.placeC("newborns")
	maze := tg.m.maze()
	duration := soakTime(t)
	tg.standing(t, func() {
		ordinary, late := tg.keepCalling(4, ""), tg.keepCalling(1, maze)
		attacks, made := tg.keepAttacking(time.Now().Add(duration))
		attacks.Wait()
		late.stop(t)
		ordinary.stop(t)
		t.Logf("soak of %v: %d attacks; %v; through the maze %v", duration, made.Load(), ordinary, late)
	})
	tasks := strings.Fields(tg.m.run("ps", "--no-headers", "-o", "nlwp", "-p", tg.m.executor()))
	open := tg.m.run("sh", "-c", "ls /proc/"+tg.m.executor()+"/fd | wc -l")
	t.Logf("the executor has %v threads and %s descriptors", tasks, open)
}
