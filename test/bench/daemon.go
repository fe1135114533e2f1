package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds every wait for the daemon.
const startTimeout = 10 * time.Second

// daemon is the program under test, with a configuration of its own.
type daemon struct {
	address, key      string
	executor, network process
	command           *exec.Cmd
	log               string
}

// setup is a daemon's configuration and key.
type setup struct{ program, config, state, address, key string }

// configure writes a configuration with a free address, a fresh key and the given further lines.
func configure(program, folder string, settings ...string) (setup, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return setup{}, fmt.Errorf("cannot find the daemon: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return setup{}, err
	}
	s := setup{
		program: program, config: filepath.Join(folder, "config"),
		state: filepath.Join(folder, "state"), address: address, key: rand.Text(),
	}
	c := exec.Command(
		program, "configure", "--config", s.config, "--bind", address, "--secret-key-stdin",
		"--unit-dir", "",
	)
	c.Stdin = strings.NewReader(s.key)
	if out, err := c.CombinedOutput(); err != nil {
		return s, fmt.Errorf("cannot configure the daemon: %w: %s", err, out)
	}
	return s, s.appendSettings(settings)
}

func (s setup) appendSettings(settings []string) error {
	f, err := os.OpenFile(s.config, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("cannot configure the daemon: %w", err)
	}
	_, err = f.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot configure the daemon: %w", err)
	}
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// serveArguments names a run user only for root, who alone can change to it.
func (s setup) serveArguments(user string) []string {
	arguments := []string{"serve", "--config", s.config, "--state-dir", s.state}
	if os.Geteuid() == 0 {
		arguments = append(arguments, "--user", user)
	}
	return arguments
}

func startDaemon(program, user, folder string, settings ...string) (*daemon, error) {
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return nil, fmt.Errorf("cannot configure the daemon: %w", err)
	}
	s, err := configure(program, folder, settings...)
	if err != nil {
		return nil, err
	}
	return s.start(user, folder)
}

func (s setup) start(user, folder string) (*daemon, error) {
	d := &daemon{address: s.address, key: s.key, log: filepath.Join(folder, "log")}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("cannot keep the daemon's journal: %w", err)
	}
	defer func() { _ = log.Close() }()
	d.command = exec.Command(s.program, append(s.serveArguments(user), "--bind", s.address)...)
	d.command.Stderr = log
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the daemon: %w", err)
	}
	d.executor = process(d.command.Process.Pid)
	if err := d.await(); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *daemon) await() (err error) {
	if err := awaitWelcome(d.address); err != nil {
		return fmt.Errorf("cannot reach the daemon: %w\n%s", err, d.logTail())
	}
	d.network, err = d.executor.childNamed("network")
	return err
}

func awaitWelcome(address string) error { return await(func() error { return welcome(address) }) }

// await retries until try succeeds, for up to startTimeout.
func await(try func() error) (err error) {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return err
}

// welcome sends GET / on a new connection.
func welcome(address string) error {
	conn, err := net.DialTimeout("tcp", address, startTimeout)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n")); err != nil {
		return fmt.Errorf("cannot ask: %w", err)
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("not an answer: %q", answer[:n])
	}
	return nil
}

// serving returns both roles.
func (d *daemon) serving() []process { return []process{d.executor, d.network} }

// logTail returns the last five lines of the daemon's log.
func (d *daemon) logTail() string {
	text, _ := os.ReadFile(d.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "The daemon's log ends with:\n" + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop ends the daemon, by SIGKILL after startTimeout.
func (d *daemon) stop() {
	if d == nil || d.command == nil {
		return
	}
	_ = d.command.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(startTimeout, func() { _ = d.command.Process.Kill() })
	defer kill.Stop()
	if err := d.command.Wait(); errors.Is(err, syscall.ECHILD) {
		fmt.Fprintln(os.Stderr, "bench: another thread has waited for the daemon")
	}
}
