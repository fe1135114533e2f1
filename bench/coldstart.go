package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const coldReach = 50 * time.Millisecond

// measureColdStart takes the best there is: systemd itself in a booted Debian, else its stand-in.
// That it cannot be had is a line of the report, not an error.
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
	b.report.detail("the stand-in is systemd-socket-activate, which executes the daemon as it is, without a unit")
}

func (b *bench) printColdStart(what string, took []time.Duration) {
	slices.Sort(took)
	median := took[len(took)/2]
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.report.figure(what, fmt.Sprintf("%.1f (%.1f..%.1f) ms", milliseconds(median), milliseconds(took[0]), milliseconds(took[len(took)-1])),
		"<= 50 ms", median <= coldReach)
}

// throughActivator has systemd's own tool for trying out socket activation start the daemon.
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
	c := exec.Command("systemd-socket-activate", append([]string{"--listen=" + s.address, s.program}, s.serveArguments(b.user)...)...)
	c.SysProcAttr, _ = dieWithUs("")
	told, err := c.StderrPipe()
	if err != nil {
		return 0, fmt.Errorf("cannot start it: %w", err)
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("cannot start it: %w", err)
	}
	defer func() { // a daemon that is killed leaves its network role listening for a moment
		_ = c.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		defer kill.Stop()
		_ = c.Wait()
	}()
	line, err := bufio.NewReader(told).ReadString('\n') // a connection before it listens would fail
	if err != nil || !strings.Contains(line, "Listening on") {
		return 0, fmt.Errorf("it does not listen: %s", line)
	}
	go func() { _, _ = io.Copy(io.Discard, told) }()
	return firstCall(client, s.address, s.key)
}

// firstCall is the one that finds no daemon.
func firstCall(client *worker, address, key string) (time.Duration, error) {
	result, err := client.do(order{Command: "true", Clients: 1, Commands: 1, Address: address, Key: key})
	return result.Connecting + result.Elapsed, err
}

// throughSystemd boots the tree, installs the daemon there, and connects when only its socket is there.
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
