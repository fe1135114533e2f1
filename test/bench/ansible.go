package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ansiblePlay is what both connections run: a command without Python, two modules, and a file up and
// down. Its file has a new name in each run.
const ansiblePlay = `- hosts: all
  gather_facts: false
  tasks:
    - raw: "true"
    - ping:
    - command: "true"
    - copy:
        src: "{{ playbook_dir }}/file"
        dest: "{{ scratch }}/{{ inventory_hostname }}-{{ run }}"
    - fetch:
        src: "{{ scratch }}/{{ inventory_hostname }}-{{ run }}"
        dest: "{{ playbook_dir }}/fetched-{{ inventory_hostname }}"
        flat: true
`

const (
	ansibleFile   = 300_000          // bytes of the file that is copied
	maxAnsibleRun = 15 * time.Minute // one run of the play on a busy machine
)

// route is one way in which Ansible reaches the hosts.
type route struct {
	name, inventory string
	times, cpu      []float64 // seconds, by round
}

// ansible measures one play on n daemons, beside the same play over SSH.
func (b *bench) ansible(folder string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("it needs root, as the SSH server does")
	}
	f := &fleet{urls: map[string]string{}, keys: map[string]string{}}
	defer f.stop()
	if err := f.start(b, folder, b.ansibleHosts); err != nil {
		return err
	}
	peer, err := subfolder(folder, "openssh")
	if err != nil {
		return err
	}
	server, err := startOpenSSH(b.user, peer, "ERROR")
	if err != nil {
		return fmt.Errorf("cannot start OpenSSH: %w", err)
	}
	defer server.stop()
	play, err := writePlay(folder)
	if err != nil {
		return err
	}
	routes, err := b.routes(f, server, play)
	if err != nil {
		return err
	}
	rounds := 3
	if b.quick {
		rounds = 1
	}
	for round := range rounds {
		for _, one := range routes {
			if err := b.playOnce(one, play, round); err != nil {
				return err
			}
		}
	}
	b.reportAnsible(routes)
	b.report.end()
	if b.docs == "" || b.quick {
		return nil
	}
	return writeDocument(
		b.docs, "benchmark-ansible.md", b.report.ansibleDocument(thisHost(), b.ansibleHosts),
	)
}

// writePlay writes the play and its files, and installs the collection. It returns their folder.
func writePlay(folder string) (string, error) {
	folder, err := subfolder(folder, "play")
	if err != nil {
		return "", err
	}
	scratch := filepath.Join(folder, "scratch")
	err = errors.Join(
		os.WriteFile(filepath.Join(folder, "play.yml"), []byte(ansiblePlay), 0o644),
		os.WriteFile(filepath.Join(folder, "file"), make([]byte, ansibleFile), 0o644),
		os.Mkdir(scratch, 0o700),
		os.Chmod(scratch, 0o1777),
	)
	if err != nil {
		return "", fmt.Errorf("cannot write the play: %w", err)
	}
	_, err = runProgram([]string{
		"ansible-galaxy", "collection", "install", "--offline", "-p",
		filepath.Join(folder, "collections"), "packaging/ansible",
	})
	return folder, err
}

// routes writes an inventory for each way to reach the hosts.
func (b *bench) routes(f *fleet, server *openssh, folder string) ([]*route, error) {
	_, port, _ := net.SplitHostPort(server.address)
	var signed, shell strings.Builder
	for host, url := range f.urls {
		key := filepath.Join(folder, "key-"+host)
		if err := os.WriteFile(key, []byte(f.keys[host]), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write a key: %w", err)
		}
		fmt.Fprintf(&signed, "%s ansible_sidecar_url=%s ansible_sidecar_key_file=%s\n", host, url, key)
		fmt.Fprintf(&shell, "%s ansible_host=127.0.0.1 ansible_port=%s\n", host, port)
	}
	scratch := filepath.Join(folder, "scratch")
	common := "[all:vars]\nansible_python_interpreter=/usr/bin/python3\nscratch=" + scratch +
		"\nansible_remote_tmp=" + scratch + "/tmp-{{ inventory_hostname }}\n"
	ssh := fmt.Sprintf(
		"%s%sansible_connection=ssh\nansible_user=%s\nansible_ssh_private_key_file=%s/user\n"+
			"ansible_ssh_common_args=-o UserKnownHostsFile=%[4]s/known\n"+
			"ansible_control_path=%%(directory)s/{{ inventory_hostname }}\n",
		shell.String(), common, b.user, server.folder,
	)
	routes := []*route{
		{name: "sidecar", inventory: signed.String() + common +
			"ansible_connection=dataflux_func.sidecar.sidecar\n"},
		{name: "SSH, pipelining", inventory: ssh + "ansible_pipelining=true\n"},
		{name: "SSH, as it is by default", inventory: ssh},
	}
	return routes, nil
}

// playOnce runs the play over one route. Each run has a home of its own, so that no SSH connection is
// left from the run before.
func (b *bench) playOnce(one *route, folder string, round int) error {
	home, err := os.MkdirTemp(folder, "h")
	if err != nil {
		return fmt.Errorf("cannot create a folder: %w", err)
	}
	inventory := filepath.Join(home, "inventory")
	if err := os.WriteFile(inventory, []byte(one.inventory), 0o600); err != nil {
		return fmt.Errorf("cannot write the inventory: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxAnsibleRun)
	defer cancel()
	c := exec.CommandContext(
		ctx, "ansible-playbook", "-i", inventory, "-e", "run="+filepath.Base(home),
		"--forks", fmt.Sprint(b.ansibleHosts),
		filepath.Join(folder, "play.yml"),
	)
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8",
		"ANSIBLE_COLLECTIONS_PATH=" + filepath.Join(folder, "collections"),
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	out, err := c.CombinedOutput()
	took := time.Since(began).Seconds()
	if err != nil {
		return fmt.Errorf("cannot play over %s: %w\n%s", one.name, err, out[max(len(out)-4000, 0):])
	}
	state := c.ProcessState
	cpu := (state.UserTime() + state.SystemTime()).Seconds()
	one.times, one.cpu = append(one.times, took), append(one.cpu, cpu)
	b.report.detail("round %d, %s: %.1f s, %.1f s of processor time", round+1, one.name, took, cpu)
	return nil
}

func (b *bench) reportAnsible(routes []*route) {
	for _, one := range routes {
		b.report.fact(one.name+", the play", secondsOf(one.times))
		b.report.fact(one.name+", processor time of Ansible and its SSH clients", secondsOf(one.cpu))
	}
	for _, peer := range routes[1:] {
		var ratios []float64
		for i, took := range peer.times {
			ratios = append(ratios, routes[0].times[i]/took)
		}
		slices.Sort(ratios)
		b.report.fact(
			"sidecar / "+peer.name+", the play",
			fmt.Sprintf("%.2f (%.2f..%.2f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1]),
		)
	}
	if out, err := exec.Command("ansible", "--version").Output(); err == nil {
		b.report.ansible, _, _ = strings.Cut(string(out), "\n")
	}
}

// secondsOf is the median of seconds, with their range.
func secondsOf(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%.1f (%.1f..%.1f) s", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}

func (r *report) ansibleDocument(host string, n int) string {
	remark := r.remark
	if remark != "" {
		remark += "\n"
	}
	var d strings.Builder
	fmt.Fprintf(&d, `# Benchmark of the Ansible connection

Written by `+"`make bench-ansible`"+`. [test/bench/ansible.go](../test/bench/ansible.go) has the play and says how it measures.

%s.
%s%s; %s.

One play runs on %d hosts with as many forks: a raw command, `+"`ping`, `command`"+`, and a file of 300 kB up and down.
Each host of the connection `+"`sidecar`"+` is a daemon with an address and a key of its own. For SSH they are one OpenSSH
server, with a connection for each host that its tasks share, as is Ansible's default; each run begins without one. All
of them share the cores with Ansible, so the processor time of both ends counts. Values are medians over the rounds, in
which the ways take turns, with the range in brackets.
`, r.measured(host), remark, r.ansible, versions(sshVersion), n)
	r.writeFigures(&d)
	return d.String()
}
