package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const maxColdStart = 50 * time.Millisecond

// measureColdStart measures with systemd in a booted Debian, and with systemd-socket-activate. What
// cannot be measured is a line of the report.
func (b *bench) measureColdStart(folder string) {
	const what = "cold start to a command's answer"
	starts := 15
	if b.quick {
		starts = 7
	}
	took, err := b.throughSystemd(starts)
	if err == nil {
		b.printColdStart(what+", systemd", took)
	} else {
		b.report.missing(what+", systemd", "<= 50 ms", err.Error())
	}
	if took, err = b.throughActivator(folder, starts); err != nil {
		b.report.missing(what+", systemd-socket-activate", "<= 50 ms", err.Error())
		return
	}
	b.printColdStart(what+", stand-in", took)
	b.report.detail(
		"the stand-in is systemd-socket-activate, which executes the daemon as it is, without a unit",
	)
}

func (b *bench) printColdStart(what string, took []time.Duration) {
	slices.Sort(took)
	median := took[len(took)/2]
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.report.figure(
		what,
		fmt.Sprintf(
			"%.1f (%.1f..%.1f) ms", milliseconds(median), milliseconds(took[0]),
			milliseconds(took[len(took)-1]),
		),
		"<= 50 ms",
		median <= maxColdStart,
	)
}

// throughActivator starts the daemon by systemd-socket-activate.
func (b *bench) throughActivator(folder string, starts int) (took []time.Duration, err error) {
	if _, err := exec.LookPath("systemd-socket-activate"); err != nil {
		return nil, errors.New("it is not installed")
	}
	s, err := configure(b.program, folder)
	if err != nil {
		return nil, err
	}
	client, err := startWorker(clientWorker, "")
	if err != nil {
		return nil, err
	}
	defer client.stop()
	for range starts {
		d, err := b.activateOnce(s, client)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

func (b *bench) activateOnce(s setup, client *worker) (time.Duration, error) {
	c := exec.Command(
		"systemd-socket-activate",
		append([]string{"--listen=" + s.address, s.program}, s.serveArguments(b.user)...)...)
	c.SysProcAttr, _ = childAttributes("")
	told, err := c.StderrPipe()
	if err != nil {
		return 0, fmt.Errorf("cannot start it: %w", err)
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("cannot start it: %w", err)
	}
	defer func() { // after SIGKILL the network role would listen a moment longer
		_ = c.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(startTimeout, func() { _ = c.Process.Kill() })
		defer kill.Stop()
		_ = c.Wait()
	}()
	line, err := bufio.NewReader(told).ReadString('\n') // wait until it listens
	if err != nil || !strings.Contains(line, "Listening on") {
		return 0, fmt.Errorf("it does not listen: %s", line)
	}
	go func() { _, _ = io.Copy(io.Discard, told) }()
	return firstCall(client, s.address, s.key)
}

// firstCall calls while no daemon runs yet.
func firstCall(client *worker, address, key string) (time.Duration, error) {
	result, err := client.do(
		task{Command: "true", Clients: 1, Commands: 1, Address: address, Key: key},
	)
	return result.Connecting + result.Elapsed, err
}

// throughSystemd boots a machine with the daemon installed, and connects while only the socket unit
// runs.
func (b *bench) throughSystemd(starts int) ([]time.Duration, error) {
	m, err := b.bootMachine()
	if err != nil {
		return nil, err
	}
	defer m.stop()
	client, err := m.clientInside()
	if err != nil {
		return nil, err
	}
	defer client.stop()
	var took []time.Duration
	for range starts {
		for _, verb := range []string{"stop dataflux-func-sidecar.service dataflux-func-sidecar.socket", "start dataflux-func-sidecar.socket"} {
			if err := m.run("systemctl " + verb); err != nil {
				return nil, err
			}
		}
		d, err := firstCall(client, "127.0.0.1:8099", m.key)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

// machine is a booted Debian with its own systemd, as in the end-to-end tests.
type machine struct {
	name    string
	outer   *exec.Cmd // the machine ends with it
	systemd process   // its PID 1, in this namespace
	key     string
}

// bootMachine boots a machine from an existing tree and installs the daemon.
func (b *bench) bootMachine() (*machine, error) {
	tree, err := b.debianTree()
	if err != nil {
		return nil, err
	}
	m := &machine{name: fmt.Sprintf("dffs-bench-%d", os.Getpid()), key: rand.Text()}
	m.outer = exec.Command(
		"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL",
		"--mount-proc", "sh", "test/e2e/machine.sh", m.name, tree, "unified",
	)
	m.outer.SysProcAttr, _ = childAttributes("")
	if err := m.outer.Start(); err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	if err = m.await(); err == nil {
		err = m.install(b.program)
	}
	if err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

func (b *bench) debianTree() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("booting a machine needs root")
	}
	if b.tree != "" {
		return b.tree, nil
	}
	cache := os.Getenv("SIDECAR_E2E_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("cannot look for a Debian tree: %w", err)
		}
		cache = filepath.Join(user, "dataflux-func-sidecar")
	}
	trees, _ := filepath.Glob(filepath.Join(cache, "debian-*", "etc"))
	if len(trees) == 0 {
		return "", errors.New(
			"there is no Debian tree\nhint: run an end-to-end test, which makes one, or name one with -tree",
		)
	}
	return filepath.Dir(trees[0]), nil
}

// await returns when the machine has booted.
func (m *machine) await() (err error) {
	for deadline := time.Now().Add(4 * startTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if m.systemd, err = m.leader(); err != nil {
			continue
		}
		if err = m.run("systemctl is-system-running --wait"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the machine does not boot: %w", err)
}

// leader finds PID 1 of the machine below unshare, the script and systemd-nspawn.
func (m *machine) leader() (process, error) {
	p := process(m.outer.Process.Pid)
	for range 3 {
		children, err := os.ReadFile(p.file("task/" + strconv.Itoa(int(p)) + "/children"))
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(children), " ")
		pid, err := strconv.Atoi(first)
		if err != nil {
			return 0, errors.New("it has not come up")
		}
		p = process(pid)
	}
	return p, nil
}

// install copies the files of a release into the machine and runs install.sh.
func (m *machine) install(program string) error {
	units, _ := filepath.Glob("units/dataflux-func-sidecar*.*")
	pages, _ := filepath.Glob("packaging/man/*.?")
	for _, from := range slices.Concat(units, pages, []string{"install.sh", program}) {
		data, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("cannot copy what is installed: %w", err)
		}
		name := filepath.Base(from)
		if from == program {
			name = "dataflux-func-sidecar"
		}
		if err := os.WriteFile(m.systemd.file("root/root/"+name), data, 0o755); err != nil {
			return fmt.Errorf("cannot copy what is installed: %w", err)
		}
	}
	return m.run("/root/install.sh --secret-key=" + m.key)
}

func (m *machine) run(script string) error {
	c := exec.Command(
		"nsenter", "--target", strconv.Itoa(int(m.systemd)), "--all", "--", "sh", "-euc", script,
	)
	c.Dir, c.Env = "/", []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
	}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// clientInside starts a client in the machine's network namespace.
func (m *machine) clientInside() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	return startWorkerBy(
		exec.Command(
			"nsenter", "--target", strconv.Itoa(int(m.systemd)), "--net", "--", self, clientWorker,
		),
		"",
	)
}

// stop also removes the cgroups that the script made.
func (m *machine) stop() {
	_ = m.outer.Process.Kill()
	_ = m.outer.Wait()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		roots, _ := filepath.Glob("/sys/fs/cgroup/" + m.name)
		more, _ := filepath.Glob("/sys/fs/cgroup/*/" + m.name)
		roots = append(roots, more...)
		if len(roots) == 0 {
			return
		}
		for _, root := range roots {
			removeCgroups(root)
		}
	}
}

func removeCgroups(root string) {
	var folders []string
	_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	slices.Reverse(folders) // the innermost first
	for _, folder := range folders {
		_ = os.Remove(folder)
	}
}
