package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The limits are loops that no daemon can beat: they show what is the system's share.

//go:embed vfork/vfork.c
var vforkSource []byte

// compileVfork needs a C compiler. Who runs the program must reach it: folder is open to all.
func compileVfork(folder string) (string, error) {
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return "", errors.New("there is no gcc: apt-get install gcc libc6-dev")
	}
	source, program := filepath.Join(folder, "vfork.c"), filepath.Join(folder, "vfork")
	if err := os.WriteFile(source, vforkSource, 0o644); err != nil {
		return "", fmt.Errorf("cannot write the C loop: %w", err)
	}
	if out, err := exec.Command(compiler, "-O2", "-pthread", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot compile the C loop: %w: %s", err, out)
	}
	return program, nil
}

// runVfork has the C program do the round.
func runVfork(o order) (outcome, error) {
	c := exec.Command(o.Prefix[0], o.Command, strconv.Itoa(o.Clients), strconv.Itoa(o.Commands))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("the C loop failed: %w", err)
	}
	var took []time.Duration
	for line := range strings.Lines(string(out)) {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return outcome{}, fmt.Errorf("the C loop printed no number: %w", err)
		}
		took = append(took, time.Duration(n))
	}
	if len(took) != o.Commands+1 {
		return outcome{}, fmt.Errorf("the C loop printed %d lines for %d commands", len(took), o.Commands)
	}
	result := outcome{Elapsed: took[0]}
	result.latencies(took[1:])
	return result, nil
}

// runMemfd is the loop without pipes and os/exec: output goes to two files in memory, which are read
// when the command has ended.
func runMemfd(o order) (outcome, error) {
	return runClients(o, func() (int64, error) { return runIntoMemory(o.Command) })
}

func runIntoMemory(command string) (size int64, err error) {
	var outputs [2]int
	for i := range outputs {
		if outputs[i], err = unix.MemfdCreate("output", unix.MFD_CLOEXEC); err != nil {
			return 0, fmt.Errorf("cannot make a file in memory: %w", err)
		}
		defer func() { _ = unix.Close(outputs[i]) }()
	}
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{^uintptr(0), uintptr(outputs[0]), uintptr(outputs[1])},
	})
	if err != nil {
		return 0, fmt.Errorf("cannot run %q: %w", command, err)
	}
	var status syscall.WaitStatus
	for _, err = syscall.Wait4(pid, &status, 0, nil); err == syscall.EINTR; {
		_, err = syscall.Wait4(pid, &status, 0, nil)
	}
	if err != nil || status != 0 {
		return 0, fmt.Errorf("cannot run %q: status %d, %w", command, status, err)
	}
	return readAll(outputs)
}

func readAll(outputs [2]int) (size int64, err error) {
	for _, fd := range outputs {
		end, err := unix.Seek(fd, 0, unix.SEEK_END)
		if err != nil {
			return 0, fmt.Errorf("cannot read the output: %w", err)
		}
		n, err := unix.Pread(fd, make([]byte, end), 0)
		if err != nil || int64(n) != end {
			return 0, fmt.Errorf("cannot read the output: %d of %d bytes, %w", n, end, err)
		}
		size += end
	}
	return size, nil
}
