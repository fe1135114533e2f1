package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine is a booted Debian with its own systemd, in the way of the end-to-end tests.
type machine struct {
	name    string
	outer   *exec.Cmd // whose end ends it
	systemd process   // its PID 1, as seen from here
	key     string
}

// bootMachine also installs the daemon. It makes no tree: that takes minutes.
func (b *bench) bootMachine() (*machine, error) {
	tree, err := b.debianTree()
	if err != nil {
		return nil, err
	}
	m := &machine{name: fmt.Sprintf("dffs-bench-%d", os.Getpid()), key: rand.Text()}
	m.outer = exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork",
		"--kill-child=SIGKILL", "--mount-proc", "sh", "e2e/machine.sh", m.name, tree, "unified")
	m.outer.SysProcAttr, _ = dieWithUs("")
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
		return "", errors.New("there is no Debian tree: the end-to-end tests make one, or name one with -tree")
	}
	return filepath.Dir(trees[0]), nil
}

// await returns when the machine has booted.
func (m *machine) await() (err error) {
	for deadline := time.Now().Add(4 * patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if m.systemd, err = m.leader(); err != nil {
			continue
		}
		if err = m.run("systemctl is-system-running --wait"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the machine does not boot: %w", err)
}

// leader is below unshare, the script and systemd-nspawn.
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

// install unpacks what a release holds, and runs its script.
func (m *machine) install(program string) error {
	units, _ := filepath.Glob("units/dataflux-func-sidecar*.*")
	pages, _ := filepath.Glob("man/*.?")
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
	c := exec.Command("nsenter", "--target", strconv.Itoa(int(m.systemd)), "--all", "--", "sh", "-euc", script)
	c.Dir, c.Env = "/", []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// clientInside is a client in the machine's network.
func (m *machine) clientInside() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	return startWorkerBy(exec.Command("nsenter", "--target", strconv.Itoa(int(m.systemd)), "--net", "--", self, clientWorker), "")
}

// stop also removes the cgroups that the script made.
func (m *machine) stop() {
	_ = m.outer.Process.Kill()
	_ = m.outer.Wait()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
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
