package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// roleUser is the user of the daemon's roles.
	roleUser = "dffs-sidecar"
	// callTime bounds an ordinary call while an attack is under way. It is far above what a busy
	// machine needs and below the time that an attack lasts.
	callTime = time.Minute
)

// target is a daemon under attack: the installed one, or a bare one as a control.
type target struct {
	m    *machine
	c    *client
	unit string // the systemd unit, if it runs as one
	main string // else the process id of the executor
}

// attackable is a machine with the daemon, the user of its roles and the attack programs in /srv.
func attackable(t *testing.T) target {
	t.Helper()
	m := boot(t)
	// Each machine has another uid: the kernel counts budgets by uid, over all machines of this
	// host.
	m.sh(fmt.Sprintf("useradd --uid %d --create-home --shell /usr/sbin/nologin dffs; chmod 0750 /home/dffs", 20_000+os.Getpid()%500*64+m.number%64))
	m.placeCheckout()
	m.install()
	programs, _ := filepath.Glob("attacks/*.py")
	for _, program := range programs {
		m.place(program, "/srv/"+filepath.Base(program), 0o644)
	}
	// The /dev of a container lacks it; udev makes it on a host.
	m.sh("[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; chmod 0666 /dev/fuse")
	uid, err := strconv.Atoi(m.run("id", "-u", "dffs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abortFUSE(t, uid) })
	return target{m: m, c: m.attackClient(defaultAddress), unit: service}
}

// in returns the target for a subtest, which then reports the failures.
func (tg target) in(t *testing.T) target {
	m := *tg.m
	m.t = t
	tg.m = &m
	return tg
}

// attackClient returns a client that fails a call after callTime.
func (m *machine) attackClient(address string) *client {
	m.t.Helper()
	c := m.client(address)
	c.http.Timeout = callTime
	return c
}

// placeC compiles an attack that must be fast.
func (m *machine) placeC(name string) {
	m.t.Helper()
	built := filepath.Join(m.t.TempDir(), name)
	if out, err := exec.Command("cc", "-O1", "-Wall", "-static", "-o", built, "attacks/"+name+".c").CombinedOutput(); err != nil {
		m.t.Fatalf("cannot compile %s: %v\n%s", name, err, out)
	}
	m.place(built, "/srv/"+name, 0o755)
}

var bareCount atomic.Int32

// bare starts a daemon whose roles have the user of the commands. An attack that the installed
// daemon refuses must succeed on this one.
func (tg target) bare(properties ...string) target {
	m := tg.m
	m.t.Helper()
	number := bareCount.Add(1)
	unit, address := fmt.Sprintf("bare-%d.service", number), fmt.Sprintf("127.0.0.1:%d", 8200+number)
	state := fmt.Sprintf("/var/lib/bare-%d", number)
	m.run("mkdir", "-m", "0700", state)
	args := []string{"systemd-run", "--quiet", "--unit=" + unit, "-p", "Delegate=yes"}
	for _, property := range properties {
		args = append(args, "-p", property)
	}
	args = append(args, "/usr/local/bin/dataflux-func-sidecar", "serve", "--bind", address, "--state-dir", state)
	if help, _ := m.try("dataflux-func-sidecar", "serve", "--help"); strings.Contains(help, "role-user") {
		args = append(args, "--role-user", "dffs")
	}
	m.run(args...)
	m.t.Cleanup(func() { _, _ = m.try("systemctl", "kill", "--kill-who=all", "--signal=SIGKILL", unit) })
	b := target{m: m, c: m.attackClient(address), unit: unit}
	m.eventually("the bare daemon serves", func() bool {
		status, answer, err := b.c.post(map[string]any{"command": "true"})
		return err == nil && status == http.StatusOK && answer.OK
	})
	return b
}

// pids returns the process ids of the executor and of its network role, and the number of restarts
// of the unit by systemd.
func (tg target) pids() (executor, network, restarts string) {
	tg.m.t.Helper()
	executor = tg.main
	if tg.unit != "" {
		executor = tg.m.run("systemctl", "show", "--value", "-p", "MainPID", tg.unit)
		restarts = tg.m.run("systemctl", "show", "--value", "-p", "NRestarts", tg.unit)
	}
	network, _ = tg.m.try("pgrep", "-P", executor, "-f", "dataflux-func-sidecar network")
	return executor, network, restarts
}

// attack starts an attacking command and does not wait for it. The environment names its targets.
func (tg target) attack(command string) (job string, err error) {
	executor, network, _ := tg.pids()
	unit := ""
	if tg.unit != "" {
		unit = "/sys/fs/cgroup/system.slice/" + tg.unit
	}
	// The attack ends soon after its test, even if the daemon lost it.
	status, answer, err := tg.c.post(map[string]any{"command": command, "wait": false, "timeout": 120, "envs": map[string]string{
		"EXECUTOR": executor, "NETWORK": network, "UNIT": unit,
	}})
	switch {
	case err != nil:
		return "", err
	case status != http.StatusOK || answer.Data == nil:
		return "", fmt.Errorf("status %d: %w", status, errUnexpected(answer))
	}
	return answer.Data.JobID, nil
}

// Outcomes of an ordinary call.
var (
	errLost    = errors.New("not answered")
	errRefused = errors.New("refused")
	errWrong   = errors.New("told as what it was not")
)

// call is one ordinary call, in the given working directory or the usual one.
func (tg target) call(workdir string) error {
	nonce := newNonce()
	body := map[string]any{"command": "echo " + nonce + "; exit 7"}
	if workdir != "" {
		body["workdir"] = workdir
	}
	began := time.Now()
	status, answer, err := tg.c.post(body)
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case err != nil:
		return fmt.Errorf("%w after %v: %w", errLost, took, err)
	case status != http.StatusOK || answer.Data == nil:
		return fmt.Errorf("%w after %v with status %d: %w", errRefused, took, status, errUnexpected(answer))
	case answer.Data.ExitCode == nil || *answer.Data.ExitCode != 7 || answer.Data.Stdout != nonce+"\n":
		return fmt.Errorf("%w after %v: %w", errWrong, took, errUnexpected(answer))
	}
	return nil
}

// tally counts ordinary calls by outcome.
type tally struct {
	ended   chan struct{}
	workers sync.WaitGroup

	made, lost, refused, wrong atomic.Int64

	mu    sync.Mutex
	first []error
}

// keepCalling makes ordinary calls until stop, a few at a time.
func (tg target) keepCalling(callers int, workdir string) *tally {
	y := &tally{ended: make(chan struct{})}
	for range callers {
		y.workers.Go(func() {
			for {
				select {
				case <-y.ended:
					return
				default:
					y.add(tg.call(workdir))
				}
			}
		})
	}
	return y
}

func (y *tally) add(err error) {
	y.made.Add(1)
	for kind, count := range map[error]*atomic.Int64{errLost: &y.lost, errRefused: &y.refused, errWrong: &y.wrong} {
		if errors.Is(err, kind) {
			count.Add(1)
		}
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if err != nil && len(y.first) < 5 {
		y.first = append(y.first, err)
	}
}

func (y *tally) String() string {
	return fmt.Sprintf("%d ordinary calls: %d not answered, %d refused, %d told wrongly",
		y.made.Load(), y.lost.Load(), y.refused.Load(), y.wrong.Load())
}

// stop ends the calls, and fails the test if one of them did not succeed.
func (y *tally) stop(t *testing.T) {
	t.Helper()
	close(y.ended)
	y.workers.Wait()
	t.Log(y)
	for _, err := range y.first {
		t.Error(err)
	}
	if y.made.Load() == 0 {
		t.Error("no ordinary call was made")
	}
}

// calls makes ordinary calls at the same time, which must all succeed within callTime.
func (tg target) calls(count int) error {
	failed := make(chan error, count)
	for range count {
		go func() { failed <- tg.call("") }()
	}
	var errs []error
	for range count {
		if err := <-failed; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// warm leaves a few cgroups without a process, as concurrent commands do.
func (tg target) warm() {
	tg.m.t.Helper()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { _, _, _ = tg.c.post(map[string]any{"command": "sleep 0.3"}) })
	}
	all.Wait()
}

// standing checks that f does not affect the daemon: ten ordinary calls succeed, and its processes
// are the same.
func (tg target) standing(t *testing.T, f func()) {
	t.Helper()
	executor, network, restarts := tg.pids()
	f()
	if err := tg.calls(10); err != nil {
		t.Errorf("after the attack: %v", err)
	}
	executorNow, networkNow, restartsNow := tg.pids()
	if executorNow != executor || networkNow != network || restartsNow != restarts {
		t.Errorf("executor %s, network role %s, %s restarts are after the attack %s, %s, %s",
			executor, network, restarts, executorNow, networkNow, restartsNow)
	}
}

// fallen waits until an ordinary call of the daemon fails.
func (tg target) fallen(t *testing.T) {
	t.Helper()
	executor, network, _ := tg.pids()
	tg.c.http.Timeout = 3 * time.Second
	tg.m.eventually("the attack has done what it is for", func() bool {
		if err := tg.calls(10); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			t.Logf("as meant: %v", first)
			return true
		}
		if in, _ := tg.m.try("cat", "/proc/"+executor+"/cgroup"); strings.Contains(in, "/jobs/") {
			t.Logf("as meant: the executor is in %s", in)
			return true
		}
		executorNow, networkNow, _ := tg.pids()
		return executorNow != executor || networkNow != network
	})
}

var errNoJob = errors.New("there is no such job")

// job is the daemon's answer about a job.
func (tg target) job(id string) (job struct {
	State, Stdout, Stderr, Failure string
	Ended                          string
}, err error,
) {
	var answer struct{ Data *json.RawMessage }
	status, text, err := tg.c.signedGet("/jobs/" + id)
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}
	if status == http.StatusNotFound {
		return job, errNoJob
	}
	if err != nil || status != http.StatusOK || answer.Data == nil {
		return job, fmt.Errorf("job %s: status %d, %q: %w", id, status, text, err)
	}
	return job, json.Unmarshal(*answer.Data, &job)
}

// cancel ends a job and waits until it has ended.
func (tg target) cancel(id string) {
	tg.m.t.Helper()
	tg.m.eventually("job "+id+" is cancelled", func() bool {
		request, err := tg.c.request("DELETE", "/jobs/"+id, []byte("null"))
		if err != nil {
			tg.m.t.Fatal(err)
		}
		if response, err := tg.c.http.Do(request); err == nil {
			_ = response.Body.Close()
		}
		job, err := tg.job(id)
		return err == nil && job.State == "ended"
	})
}

// attacked runs an attack to its end and returns what it printed.
func (tg target) attacked(t *testing.T, command string) string {
	t.Helper()
	id, err := tg.attack(command)
	if err != nil {
		t.Fatal(err)
	}
	var stdout string
	tg.m.eventually("the attack has ended", func() bool {
		job, err := tg.job(id)
		if errors.Is(err, errNoJob) {
			t.Fatal("the daemon does not know the attack: it was restarted")
		}
		stdout = job.Stdout + job.Stderr
		return err == nil && job.State == "ended"
	})
	return stdout
}
