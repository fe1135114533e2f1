package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// runRelay is the loop on a socket in two processes: one has the connections and runs nothing, the other
// runs the commands and has no connection. What the daemon's figure has above this one is HTTP, signature,
// nonces and journal; what this one has above the loop on a socket is the price of the separation.
func runRelay(order) (outcome, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return outcome{}, fmt.Errorf("cannot make a channel: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "channel")
	defer func() { _ = theirs.Close() }()
	runner := exec.Command("/proc/self/exe", relayedWorker)
	runner.Stderr, runner.ExtraFiles = os.Stderr, []*os.File{theirs}
	runner.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := runner.Start(); err != nil {
		return outcome{}, fmt.Errorf("cannot start the second process: %w", err)
	}
	channel, err := packets(pair[0])
	if err != nil {
		return outcome{}, err
	}
	r := &relay{channel: channel, answers: map[uint32]chan struct{}{}}
	go r.deliver()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return outcome{}, fmt.Errorf("cannot listen: %w", err)
	}
	go serveAll(l, r.run)
	return outcome{Address: l.Addr().String()}, nil
}

// packets is a socket that keeps the borders of what is sent.
func packets(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "channel")
	defer func() { _ = f.Close() }()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the channel: %w", err)
	}
	return conn, nil
}

// relay has commands run on the other side of the channel.
type relay struct {
	channel net.Conn

	mu      sync.Mutex
	last    uint32
	answers map[uint32]chan struct{}
}

func (r *relay) run(command string) error {
	answer := make(chan struct{})
	r.mu.Lock()
	r.last++
	id := r.last
	r.answers[id] = answer
	r.mu.Unlock()
	if _, err := r.channel.Write(append(binary.BigEndian.AppendUint32(nil, id), command...)); err != nil {
		return fmt.Errorf("cannot pass a command on: %w", err)
	}
	<-answer
	return nil
}

func (r *relay) deliver() {
	packet := make([]byte, 4)
	for {
		if n, err := r.channel.Read(packet); n != len(packet) || err != nil {
			return
		}
		id := binary.BigEndian.Uint32(packet)
		r.mu.Lock()
		answer := r.answers[id]
		delete(r.answers, id)
		r.mu.Unlock()
		close(answer)
	}
}

// runRelayed is the second process: it does not come back until the channel ends.
func runRelayed() error {
	channel, err := packets(3)
	if err != nil {
		return err
	}
	for {
		packet := make([]byte, 4096)
		n, err := channel.Read(packet)
		if n < 4 || err != nil {
			return fmt.Errorf("the channel has ended: %w", err)
		}
		go func() {
			if _, err := runBare(string(packet[4:n])); err == nil {
				_, _ = channel.Write(packet[:4])
			}
		}()
	}
}
