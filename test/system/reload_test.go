package system

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// reload is `reload` of the program that the daemon runs.
func (d *daemon) reload() spoken {
	d.t.Helper()
	return invoke(d.t, invocation{args: []string{"reload", "--config", d.config, "--state-dir", d.stateDir()}})
}

func (d *daemon) wantReloaded() {
	d.t.Helper()
	s := d.reload()
	if s.status != 0 || !strings.HasPrefix(s.stdout, "Reloaded: ") || s.stderr != "" {
		d.t.Fatalf("reload: got %+v\n%.5000s", s, d.log())
	}
}

// wantRefused reloads, which must fail with the texts, and leave the daemon as it was.
func (d *daemon) wantRefused(texts ...string) {
	d.t.Helper()
	s := d.reload()
	if s.status != 1 || s.stdout != "" {
		d.t.Errorf("reload: got %+v, want status 1", s)
	}
	for _, text := range texts {
		if !strings.Contains(s.stderr, text) {
			d.t.Errorf("reload: got %s, want %q in it", s.stderr, text)
		}
	}
	if a := d.run("echo still"); a.Data.Stdout != "still\n" {
		d.t.Errorf("after a refused reload: got %s", a.body)
	}
}

func TestReload_Key(t *testing.T) {
	t.Parallel()
	const next = "canary-next-key-0123456789"
	d := startDaemon(t)
	d.configure(`["` + next + `", "` + testKey + `"]`)
	d.wantReloaded()
	for _, key := range []string{next, testKey} {
		d.key = key
		if a := d.run("echo in"); a.Data.Stdout != "in\n" {
			t.Errorf("got %s, want both keys in force", a.body)
		}
	}
	d.configure(strconv.Quote(next))
	d.wantReloaded()
	d.key = testKey
	d.try200(fields{"command": "true"}).wantRefusal(t, 401, "does not match")
	d.key = next
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s, want the new key in force", a.body)
	}
	d.awaitLog("changed: SECRET_KEY")
	d.wantReloaded()
	d.awaitLog("; changed: nothing in the configuration")
}

// A removed key also ends what waits in the queue for it, but no running command.
func TestReload_RemovedKeyAndQueue(t *testing.T) {
	t.Parallel()
	const leaked, next = "canary-leaked-key-0123456789", "canary-next-key-0123456789"
	d := startDaemonWithKeys(t, strconv.Quote(leaked), "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	dir := sharedDir(t)
	end := filepath.Join(dir, "end")
	d.key = leaked
	running := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + end + "; do sleep 0.01; done; echo went on"})).raw())
	d.awaitLog("Command started")
	queued := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "touch " + dir + "/ran", "jobId": "queued"})).raw())
	d.eventually("in the queue", func() bool { return strings.Contains(d.send(d.sign("GET", "/jobs/queued", "")).body, "queued") })
	d.configure(strconv.Quote(next), "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	d.wantReloaded()
	if a := queued.answer("POST"); a.status/100 == 2 && a.Data != nil && a.Data.ExitCode != nil {
		t.Errorf("the queued command: got %d %s, want a refusal", a.status, a.body)
	}
	d.try200(fields{"command": "true"}).wantRefusal(t, 401, "does not match")
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if a := running.answer("POST"); a.Data == nil || a.Data.Stdout != "went on\n" {
		t.Errorf("the running command: got %d %s", a.status, a.body)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the command of a removed key has run")
	}
	d.key = next
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s", a.body)
	}
}

// Commands inherit nothing of a reload, not even one that the new program starts at once, while it
// still has the handover open.
func TestReload_CommandsInheritNothing(t *testing.T) {
	t.Parallel()
	const look = "ls /proc/$$/fd; env; cat /proc/$$/cmdline"
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	end := filepath.Join(sharedDir(t), "end")
	send := func(f fields) *wire {
		return d.dial().put(d.sign("POST", "/shell", jsonOf(f)).raw())
	}
	holder := send(fields{"command": "until test -e " + end + "; do sleep 0.01; done"})
	d.awaitLog("Command started")
	queued := send(fields{"command": look, "jobId": "queued"})
	d.eventually("in the queue", func() bool {
		return strings.Contains(d.send(d.sign("GET", "/jobs/queued", "")).body, "queued")
	})
	d.configure(strconv.Quote(testKey), "MAX_RUNNING = 2", "MAX_QUEUED = 5")
	d.wantReloaded()
	for name, a := range map[string]answer{"queued": queued.answer("POST"), "later": d.run(look)} {
		if a.Data == nil || !strings.HasPrefix(a.Data.Stdout, "0\n1\n2\nUSER=") ||
			strings.Contains(a.Data.Stdout, "HANDOVER") || strings.Contains(a.Data.Stdout, testKey) {
			t.Errorf("%s: got %d %s, want descriptors 0 to 2 and the environment of a login",
				name, a.status, a.body)
		}
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	holder.answer("POST")
}

// Limits may shrink below what runs and waits: that goes on.
func TestReload_Limits(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 3", "MAX_QUEUED = 3", "MAX_BODY = 4096")
	dir := sharedDir(t)
	command := fields{"command": "until test -e " + dir + "/end; do sleep 0.01; done; echo done"}
	var callers []*wire
	for range 5 {
		callers = append(callers, d.dial().put(d.sign("POST", "/shell", jsonOf(command)).raw()))
	}
	d.eventually("three running, two queued", func() bool {
		s := d.cli("jobs")
		return strings.Count(s.stdout, "running") == 3 && strings.Count(s.stdout, "queued") == 2
	})
	d.configure(strconv.Quote(testKey), "MAX_RUNNING = 1", "MAX_QUEUED = 0", "MAX_BODY = 8192")
	d.wantReloaded()
	d.try200(fields{"command": "true"}).wantRefusal(t, 503, "MAX_RUNNING")
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i, w := range callers {
		if a := w.answer("POST"); a.Data == nil || a.Data.Stdout != "done\n" {
			t.Errorf("caller %d: got %d %s", i, a.status, a.body)
		}
	}
	d.eventually("a free slot, and the larger body", func() bool {
		a := d.try200(fields{"command": "true #" + strings.Repeat("x", 6000)})
		return a.status == 200
	})
	d.awaitLog("changed: MAX_BODY, MAX_RUNNING, MAX_QUEUED")
}

func TestReload_RefusedConfiguration(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.configure(strconv.Quote("canary-other-key-0123456789"), "MAX_RUNING = 7")
	d.wantRefused(d.config+": line 2, column 1", "did you mean MAX_RUNNING?")
	d.configure(strconv.Quote("canary-other-key-0123456789"), "MAX_RUNNING = 0")
	d.wantRefused("line 2", "MAX_RUNNING must be")
	d.configure(strconv.Quote(testKey), `TLS_CERTIFICATE = "/none/c.pem"`, `TLS_KEY = "/none/k.pem"`)
	d.wantRefused("TLS_CERTIFICATE: cannot read it")
	if err := os.Chmod(d.config, 0o644); err != nil {
		t.Fatal(err)
	}
	d.wantRefused("chmod 0600")
	if strings.Contains(d.log(), "Reloaded: ") {
		t.Errorf("got a reload in the log:\n%s", d.log())
	}
}

func TestReload_NoDaemon(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	for range 2 { // without a socket, and with that of a daemon that has ended
		s := d.reload()
		if s.status != 3 || !strings.Contains(s.stderr, "\nhint: run systemctl restart") {
			t.Errorf("got %+v, want status 3 and a hint", s)
		}
		d.start()
		d.stop()
	}
}

// pem serves what the credential is at the moment of the reload.
func TestReload_Certificate(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	d.start()
	dir := sharedDir(t)
	waiting := d.dialTLS(c).put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + dir + "/end; do sleep 0.01; done; echo waited"})).raw())
	d.awaitLog("Command started")
	former := *c
	host, _, _ := net.SplitHostPort(d.address)
	c.renew(t, time.Now().Add(2000*time.Hour), host)
	if a := d.tlsShell(&former, "echo former"); a.Data == nil || a.Data.Stdout != "former\n" {
		t.Errorf("before the reload: got %d %s", a.status, a.body)
	}
	d.wantReloaded()
	for range 5 { // none is accepted with the former certificate
		if a := d.tlsShell(c, "echo renewed"); a.Data == nil || a.Data.Stdout != "renewed\n" {
			t.Errorf("after the reload: got %d %s", a.status, a.body)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if a := waiting.answer("POST"); a.Data == nil || a.Data.Stdout != "waited\n" {
		t.Errorf("the caller of before: got %d %s", a.status, a.body)
	}
	d.awaitLog("changed: the TLS certificate")
	d.awaitLog("has answered its callers and ends")
	d.eventually("one network role", func() bool { return len(childrenOf(t, d.pid)) == 1 })
}

// childrenOf lists the processes with that parent.
func childrenOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// Twenty reloads, of which each replaces the network role, while a command writes, a caller waits
// for it, another follows it, one waits in the queue, and a callback is owed.
func TestReload_NothingIsLost(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t, "MAX_RUNNING = 2", "MAX_QUEUED = 5"), newReceiver(t, ok)
	dir := sharedDir(t)
	end := filepath.Join(dir, "end")
	command := fmt.Sprintf("i=0; until test -e %s; do i=$((i+1)); echo line $i; echo error $i >&2; sleep 0.01; done; echo $i lines; exit 7", end)
	waiting := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": command, "jobId": "long", "callbackURL": v.URL})).raw())
	d.awaitLog("Command started")
	blocks := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + end + "; do sleep 0.01; done", "jobId": "blocks"})).raw())
	queued := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "echo was queued", "jobId": "queued"})).raw())
	d.eventually("in the queue", func() bool { return strings.Contains(d.cli("jobs").stdout, "queued") })
	follower := exec.Command(testkit.Program(t), "jobs", "--follow", "long", "--config", d.config, "--url", "http://"+d.address)
	var followed, said strings.Builder
	follower.Stdout, follower.Stderr = &followed, &said
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	pid := d.pid
	for i := range 20 {
		d.configure(strconv.Quote(testKey), "MAX_RUNNING = 2", "MAX_QUEUED = "+strconv.Itoa(5+i%2))
		d.wantReloaded()
		if i%5 == 0 {
			d.eventually("jobs as before", func() bool {
				s := d.cli("jobs")
				return strings.Count(s.stdout, "running") == 2 && strings.Count(s.stdout, "queued") >= 1
			})
		}
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	a := waiting.answer("POST")
	if a.Data == nil || a.end() != "exit 7" {
		t.Fatalf("the caller: got %d %.300s", a.status, a.body)
	}
	wantNumbered(t, "line", a.Data.Stdout)
	wantNumbered(t, "error", a.Data.Stderr)
	if a := queued.answer("POST"); a.Data == nil || a.Data.Stdout != "was queued\n" {
		t.Errorf("the queued one: got %d %s", a.status, a.body)
	}
	if a := blocks.answer("POST"); a.Data == nil || a.end() != "exit 0" {
		t.Errorf("the other one: got %d %s", a.status, a.body)
	}
	_ = follower.Wait()
	if followed.String() != a.Data.Stdout || follower.ProcessState.ExitCode() != 7 {
		t.Errorf("the follower: got %d bytes and status %d, want %d and 7: %s", followed.Len(),
			follower.ProcessState.ExitCode(), len(a.Data.Stdout), said.String())
	}
	v.await(d, 1)[0].wantOutput(t, a.Data.Stdout, a.Data.Stderr)
	if d.pid != pid || strings.Count(d.log(), "Reloaded: ") != 20 {
		t.Errorf("got %d reloads in the log, want 20", strings.Count(d.log(), "Reloaded: "))
	}
	d.eventually("one network role", func() bool { return len(childrenOf(t, d.pid)) == 1 })
}

// wantNumbered checks that each line up to the last number is there once, in turn.
func wantNumbered(t *testing.T, word, text string) {
	t.Helper()
	n := 0
	for line := range strings.Lines(text) {
		if n++; line == fmt.Sprintf("%s %d\n", word, n) {
			continue
		}
		if line != fmt.Sprintf("%d lines\n", n-1) {
			t.Fatalf("got %q as line %d, want %s %d", line, n, word, n)
		}
	}
	if n < 20 {
		t.Errorf("got %d lines", n)
	}
}

// Programs that cannot take over are refused, with a reason.
func TestReload_OtherProgram(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	// `reload` passes its own file on, so each of these is one that calls the socket as it does.
	dir := sharedDir(t)
	path := filepath.Join(dir, testkit.Name)
	text, err := os.ReadFile(testkit.Program(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, status := d.reloadAs(path); status != 0 {
		t.Errorf("another file of the same program: got status %d: %s", status, out)
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.pid)); err != nil || link != path {
		t.Errorf("got the program %s, %v, want %s", link, err, path)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", d.pid)); err != nil || string(name) != "dataflux-func-s\n" {
		t.Errorf("got the name %q, %v", name, err)
	}
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s", a.body)
	}
}

// A daemon that was root cannot read its configuration, and without systemd it can ask nobody. So
// SIGHUP changes nothing, also after a reload.
func TestReload_SIGHUPOfRoot(t *testing.T) {
	testkit.NeedRoot(t)
	t.Parallel()
	d := startDaemon(t)
	const noEffect = "SIGHUP has no effect: only root can read the configuration; hint: run systemctl reload"
	d.signal(d.pid, syscall.SIGHUP)
	d.awaitLog(noEffect)
	d.wantReloaded()
	d.signal(d.pid, syscall.SIGHUP)
	d.eventually("said again", func() bool { return strings.Count(d.log(), noEffect) == 2 })
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestReload_SIGHUPOfOrdinaryUser(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	d.launchAsOrdinaryUser()
	for i := range 3 {
		d.configure(strconv.Quote(testKey), "MAX_QUEUED = "+strconv.Itoa(i+1))
		d.signal(d.pid, syscall.SIGHUP)
		d.eventually("reloaded", func() bool { return strings.Count(d.log(), "changed: MAX_QUEUED") == i+1 })
		if a := d.run("echo in"); a.Data.Stdout != "in\n" {
			t.Errorf("got %s", a.body)
		}
	}
	d.configure(strconv.Quote(testKey), "MAX_QUEUD = 1")
	d.signal(d.pid, syscall.SIGHUP)
	d.awaitLog("Reload refused, the daemon goes on as before: " + d.config + ": line 2, column 1")
	d.signal(d.pid, syscall.SIGTERM)
	d.signal(d.pid, syscall.SIGHUP)
	d.awaitEnd()
	if !d.state.Success() {
		t.Errorf("the daemon ended with %v", d.state)
	}
}

// launchAsOrdinaryUser starts the daemon without root.
func (d *daemon) launchAsOrdinaryUser() {
	d.t.Helper()
	if os.Geteuid() != 0 {
		d.start()
		return
	}
	const nobody = 65534
	dir := sharedDir(d.t)
	if err := os.Rename(d.config, filepath.Join(dir, "config")); err != nil {
		d.t.Fatal(err)
	}
	d.config = filepath.Join(dir, "config")
	d.logPath = d.config + ".log"
	if err := os.Chown(d.config, nobody, nobody); err != nil {
		d.t.Fatal(err)
	}
	log, err := os.OpenFile(d.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(testkit.Program(d.t), "serve", "--config", d.config, "--bind", d.address, "--state-dir", d.stateDir())
	cmd.Stderr, cmd.Dir, cmd.Env = log, "/", daemonEnvironment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	d.follow(cmd)
	d.awaitLog("Ready: ")
}

// Requests that come while the daemon reloads wait a moment, and none is refused.
func TestReload_NoConnectionIsRefused(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			a, err := d.try(d.sign("POST", "/shell", `{"command":"echo in"}`))
			if err == nil && (a.status != http.StatusOK || a.Data.Stdout != "in\n") {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for i := range 10 {
		d.configure(strconv.Quote(testKey), "MAX_RUNNING = "+strconv.Itoa(10+i))
		d.wantReloaded()
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("got %v, want every request answered", err)
	}
}

// Each reload leaves a network role with a caller behind. Of more than sixteen, the oldest is ended.
func TestReload_ManyRolesDrain(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	dir := sharedDir(t)
	const reloads = 18
	var callers []*wire
	for i := range reloads {
		callers = append(callers, d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + dir + "/end; do sleep 0.05; done; echo " + strconv.Itoa(i)})).raw()))
		d.eventually("the command", func() bool { return strings.Count(d.log(), "Command started") == i+1 })
		d.configure(strconv.Quote(testKey), "MAX_BODY = "+strconv.Itoa(10_000+i))
		d.wantReloaded()
	}
	for i := range 2 {
		if a, err := callers[i].tryAnswer("POST"); err == nil {
			t.Errorf("caller %d: got %d %s, want the end of the connection", i, a.status, a.body)
		}
	}
	if n := strings.Count(d.log(), "More than 16 replaced network roles wait for their callers: the oldest (pid "); n != 2 {
		t.Errorf("got %d entries about ended roles, want 2", n)
	}
	if roles := childrenOf(t, d.pid); len(roles) != reloads+1+16 { // with the commands
		t.Errorf("got %d children, want %d", len(roles), reloads+1+16)
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < reloads; i++ {
		if a := callers[i].answer("POST"); a.Data == nil || a.Data.Stdout != strconv.Itoa(i)+"\n" {
			t.Errorf("caller %d: got %d %s", i, a.status, a.body)
		}
	}
	d.eventually("one network role", func() bool { return len(childrenOf(t, d.pid)) == 1 })
}

// A stop drains the callers of replaced network roles as well.
func TestReload_StopWhileARoleDrains(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 2; echo whole"})).raw())
	d.awaitLog("Command started")
	d.configure(strconv.Quote(testKey), "MAX_BODY = 10000")
	d.wantReloaded()
	d.signal(d.pid, syscall.SIGTERM)
	if a := w.answer("POST"); a.Data == nil || a.Data.Stdout != "whole\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	d.awaitEnd()
	if s := d.reload(); s.status != 3 {
		t.Errorf("reload of a daemon that has ended: got %+v", s)
	}
}

// A command that starts after reloads finds what one before them found.
func TestReload_CommandsStartAsBefore(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	look := func() string {
		return d.run(`env | sort; ulimit -a; umask; pwd; id; ps -o ppid= -p $$ | tr -d ' '; readlink /proc/$$/fd/0; echo $(ls /proc/self/fd)
			grep '^Sig[BIC]\|^Cap\|^NoNewPrivs\|^Seccomp:' /proc/self/status; cat /proc/$$/oom_score_adj /proc/$$/cgroup; nice; cut -d' ' -f 6-7 /proc/$$/stat`).Data.Stdout
	}
	before := look()
	if !strings.Contains(before, "SigBlk:\t0000000000000000") {
		t.Errorf("got %s, want what a command has", before)
	}
	for i := range 3 {
		d.configure(strconv.Quote(testKey), "MAX_BODY = "+strconv.Itoa(10_000+i))
		d.wantReloaded()
		if after := look(); after != before {
			t.Errorf("after %d reloads: got\n%s\nbefore:\n%s", i+1, after, before)
		}
	}
}
