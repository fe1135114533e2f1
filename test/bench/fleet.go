package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	fleetDead    = 20                     // hosts that do not answer
	fleetStarts  = 4                      // daemons that start at the same time
	fleetConnect = 5 * time.Second        // CONNECT_TIMEOUT of sidecar__wire
	fleetSlack   = 500 * time.Millisecond // above it, for a busy machine

	maxFleetTime   = 10 * time.Second
	maxFleetMemory = 100_000_000
)

// fleet is many daemons, each with a key and an address of its own, and hosts that do not answer.
type fleet struct {
	daemons []*daemon
	dead    []int // descriptors of sockets with a full backlog, and of connections that fill it
	urls    map[string]string
	keys    map[string]string
}

// fleetOutcome is what fleet.py prints.
type fleetOutcome struct {
	Seconds, CPU float64
	Peak         int64
	Counts       map[string]int
	Table        string
	Python       string
}

// fleets measures SidecarFleet of the connector: one task, a task that takes a while, and one task
// with hosts that do not answer.
func (b *bench) fleets(folder string) (err error) {
	n, f := b.hosts, &fleet{urls: map[string]string{}, keys: map[string]string{}}
	defer f.stop()
	if err := f.start(b, folder, n); err != nil {
		return err
	}
	rounds := 5
	if b.quick {
		rounds = 2
	}
	b.fleetMemory(f)
	alive, err := b.fleetTask(f, fmt.Sprintf("`true` on %d hosts", n), "true", n, rounds)
	if err != nil {
		return err
	}
	slow := fmt.Sprintf("`sleep 5` on %d hosts", n)
	if _, err := b.fleetTask(f, slow, "sleep 5", n, 1); err != nil {
		return err
	}
	if err := f.addDead(); err != nil {
		return err
	}
	what := fmt.Sprintf("`true` on %d hosts and %d dead ones", n, fleetDead)
	dead, err := b.fleetTask(f, what, "true", n, rounds)
	if err != nil {
		return err
	}
	longer := time.Duration((dead - alive) * float64(time.Second)).Round(10 * time.Millisecond)
	b.report.figure(
		fmt.Sprintf("longer by, for %d dead hosts with a timeout of 5 s", fleetDead),
		fmt.Sprintf("%.2f s", longer.Seconds()),
		fmt.Sprintf("<= %.1f s", (fleetConnect+fleetSlack).Seconds()),
		longer <= fleetConnect+fleetSlack,
	)
	b.report.end()
	if b.docs == "" || b.quick {
		return nil
	}
	return writeDocument(b.docs, "benchmark-fleet.md", b.report.fleetDocument(thisHost()))
}

func (b *bench) fleetMemory(f *fleet) {
	if os.Geteuid() != 0 {
		return
	}
	var total int64
	for _, d := range f.daemons {
		total += sum(d.serving(), process.pss)
	}
	b.report.fact(
		"all daemons, idle, PSS of both roles", fmt.Sprintf(
			"%s, %s each", megabytes(total), megabytes(total/int64(len(f.daemons))),
		),
	)
}

// fleetTask runs a command on all hosts, each round in a new Python process, and returns the median
// time in seconds. It fails unless n hosts are ok and the dead ones unreachable.
func (b *bench) fleetTask(f *fleet, what, command string, n, rounds int) (float64, error) {
	var times, processor []float64
	var peak int64
	for range rounds {
		o, err := f.run(command)
		if err != nil {
			return 0, err
		}
		if o.Counts["ok"] != n || o.Counts["unreachable"] != len(f.urls)-n {
			return 0, fmt.Errorf("%s: %s", what, o.Table)
		}
		times, processor = append(times, o.Seconds), append(processor, o.CPU)
		peak = max(peak, o.Peak)
		b.report.detail("%.2f s, %.2f s of processor time, %s", o.Seconds, o.CPU, megabytes(o.Peak))
		b.report.python = o.Python
	}
	slices.Sort(times)
	slices.Sort(processor)
	median := times[len(times)/2]
	name := what + ", " + plural(rounds, "round")
	value := fmt.Sprintf("%.2f (%.2f..%.2f) s", median, times[0], times[len(times)-1])
	if command == "true" {
		limit := maxFleetTime
		if len(f.urls) > n {
			limit += fleetConnect
		}
		target := fmt.Sprintf("<= %.0f s", limit.Seconds())
		b.report.figure(name+", all results", value, target, median <= limit.Seconds())
	} else {
		b.report.fact(name+", all results", value)
	}
	b.report.fact(
		name+", processor time of Python", fmt.Sprintf("%.2f s", processor[len(processor)/2]),
	)
	b.report.figure(
		name+", peak memory of Python (VmHWM)", megabytes(peak), "< 100 MB", peak < maxFleetMemory,
	)
	return median, nil
}

// run runs a command on all hosts, in a new Python process.
func (f *fleet) run(command string) (o fleetOutcome, err error) {
	connector, err := filepath.Abs("connector")
	if err != nil {
		return o, fmt.Errorf("cannot find the connector: %w", err)
	}
	given, err := json.Marshal(map[string]any{
		"connector": connector, "urls": f.urls, "keys": f.keys, "command": command, "timeout": 30,
	})
	if err != nil {
		return o, fmt.Errorf("cannot describe the hosts: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxRound)
	defer cancel()
	c := exec.CommandContext(ctx, "python3", "-B", "test/bench/fleet.py")
	c.Stdin, c.Stderr = bytes.NewReader(given), os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &o)
	}
	if err != nil {
		return o, fmt.Errorf("cannot run the fleet's task: %w", err)
	}
	return o, nil
}

// start starts n daemons, a few at a time, each as the ordinary user.
func (f *fleet) start(b *bench, folder string, n int) error {
	program := filepath.Join(folder, "dataflux-func-sidecar")
	if err := copyFile(b.program, program); err != nil {
		return err
	}
	port, err := freeFleetPort()
	if err != nil {
		return err
	}
	began := time.Now()
	for len(f.daemons) < n {
		var batch []*daemon
		for i := len(f.daemons); i < min(n, len(f.daemons)+fleetStarts); i++ {
			host := fmt.Sprintf("127.90.%d.%d", i/250, 1+i%250)
			own := filepath.Join(folder, strconv.Itoa(i))
			d, err := startPlain(program, b.user, own, net.JoinHostPort(host, port))
			if err != nil {
				return err
			}
			batch = append(batch, d)
			f.urls[host], f.keys[host] = "http://"+d.address, d.key
		}
		f.daemons = append(f.daemons, batch...)
		for _, d := range batch {
			if err := d.await(); err != nil {
				return err
			}
		}
	}
	b.report.detail("%d daemons started in %d s", n, int(time.Since(began).Seconds()))
	return nil
}

// startPlain starts a daemon that is the user from its start on, as in a container.
func startPlain(program, user, folder, address string) (*daemon, error) {
	attr, err := childAttributes(user)
	if err != nil {
		return nil, err
	}
	// As a service has one: the kernel shares processors by session (autogroup), and sshd gives each
	// command a session.
	attr.Setsid = true
	d := &daemon{address: address, key: rand.Text(), log: filepath.Join(folder, "log")}
	config := filepath.Join(folder, "config")
	text := fmt.Sprintf("BIND = %q\nSECRET_KEY = %q\n", address, d.key)
	err = errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(config, []byte(text), 0o600))
	if err == nil && attr.Credential != nil {
		uid, gid := int(attr.Credential.Uid), int(attr.Credential.Gid)
		err = errors.Join(os.Chown(config, uid, gid), os.Chown(folder, uid, gid))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot configure a daemon: %w", err)
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("cannot keep a daemon's journal: %w", err)
	}
	defer func() { _ = log.Close() }()
	d.command = exec.Command(
		program, "serve", "--config", config, "--bind", address,
		"--state-dir", filepath.Join(folder, "state"),
	)
	d.command.Dir, d.command.Env, d.command.SysProcAttr = "/", workerEnvironment(user), attr
	d.command.Stderr = log
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a daemon: %w", err)
	}
	d.executor = process(d.command.Process.Pid)
	return d, nil
}

// freeFleetPort finds a port that is free on all of 127.0.0.0/8.
func freeFleetPort() (string, error) {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// addDead adds hosts that answer no SYN: loopback sockets whose backlog of one connection is full.
func (f *fleet) addDead() error {
	for i := range fleetDead {
		host := fmt.Sprintf("127.91.0.%d", 1+i)
		address := &syscall.SockaddrInet4{Addr: [4]byte{127, 91, 0, byte(1 + i)}}
		listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			return fmt.Errorf("cannot make a dead host: %w", err)
		}
		f.dead = append(f.dead, listener)
		err = errors.Join(syscall.Bind(listener, address), syscall.Listen(listener, 0))
		if err != nil {
			return fmt.Errorf("cannot make a dead host: %w", err)
		}
		bound, err := syscall.Getsockname(listener)
		if err != nil {
			return fmt.Errorf("cannot make a dead host: %w", err)
		}
		filler, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			return fmt.Errorf("cannot make a dead host: %w", err)
		}
		f.dead = append(f.dead, filler)
		if err := syscall.Connect(filler, bound); err != nil {
			return fmt.Errorf("cannot make a dead host: %w", err)
		}
		port := bound.(*syscall.SockaddrInet4).Port
		f.urls[host] = "http://" + net.JoinHostPort(host, strconv.Itoa(port))
		f.keys[host] = rand.Text()
	}
	return nil
}

// stop ends the daemons: all are asked first, and then waited for.
func (f *fleet) stop() {
	for _, fd := range f.dead {
		_ = syscall.Close(fd)
	}
	for _, d := range f.daemons {
		_ = d.command.Process.Signal(syscall.SIGTERM)
	}
	for _, d := range f.daemons {
		d.stop()
	}
}

func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("cannot copy the daemon: %w", err)
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("cannot copy the daemon: %w", err)
	}
	_, err = io.Copy(target, source)
	if err := errors.Join(err, target.Close()); err != nil {
		return fmt.Errorf("cannot copy the daemon: %w", err)
	}
	return nil
}

func (r *report) fleetDocument(host string) string {
	remark := r.remark
	if remark != "" {
		remark += "\n"
	}
	var d strings.Builder
	fmt.Fprintf(&d, `# Benchmark of the fleet

Written by `+"`make bench-fleet`"+`. [test/bench/fleet.go](../test/bench/fleet.go) says how it measures.

%s.
%sPython %s.

`+"`SidecarFleet`"+` of the connector runs a task on real daemons of this machine, each with two processes, an address of
127.0.0.0/8 and a key of its own. They share the two cores with the caller. A dead host drops each attempt to connect.
Values are medians over the rounds, each in a new Python process, with the range in brackets.
`, r.measured(host), remark, r.python)
	r.writeFigures(&d)
	return d.String()
}
