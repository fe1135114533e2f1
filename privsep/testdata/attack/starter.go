package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep"
)

// starter is a daemon that starts roles and executes itself. It obeys the lines on its standard
// input, and answers each with one line. What it knows is in variables of its environment during an
// execve.
type starter struct {
	thread  *privsep.ForkThread
	roles   []*privsep.Role
	said    chan string
	signals chan os.Signal
}

const starterState = "ATTACK_STARTER"

// startRoles is the mode. The main thread is locked already.
func startRoles([]string) error {
	if err := privsep.SetName("starter"); err != nil {
		return err
	}
	s := &starter{
		thread: privsep.NewForkThread(), said: make(chan string, 1000),
		signals: make(chan os.Signal, 10),
	}
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	failed := make(chan error, 1)
	go func() {
		failed <- s.serve()
		s.thread.Close()
	}()
	s.thread.Serve()
	return <-failed
}

func (s *starter) say(line string) { s.said <- line }

func (s *starter) serve() error {
	if err := s.adopt(); err != nil {
		return err
	}
	// One byte at a time: what is left of the input is for the next program.
	for {
		var line []byte
		for b := make([]byte, 1); ; line = append(line, b[0]) {
			if n, _ := os.Stdin.Read(b); n == 0 {
				return nil
			}
			if b[0] == '\n' {
				break
			}
		}
		words := strings.Fields(string(line))
		answer, err := s.obey(words[0], words[1:])
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}

func (s *starter) adopt() error {
	var states []privsep.RoleState
	if text := os.Getenv(starterState); text != "" {
		if err := json.Unmarshal([]byte(text), &states); err != nil {
			return err
		}
		fmt.Println("executed") // the answer to exec
	}
	for _, state := range states {
		role, err := privsep.AdoptRole(state, s.say)
		if err != nil {
			return err
		}
		s.roles = append(s.roles, role)
	}
	return nil
}

func (s *starter) obey(word string, args []string) (string, error) {
	switch word {
	case "start":
		role, err := s.thread.StartRole([]string{"attack", "role"}, nil, s.say)
		if err != nil {
			return "", err
		}
		s.roles = append(s.roles, role)
		return strconv.Itoa(role.PID), nil
	case "tell": // ROLE WORD...
		role := s.role(args[0])
		if _, err := fmt.Fprintln(role.Channel, strings.Join(args[1:], " ")); err != nil {
			return "", err
		}
		line, err := bufio.NewReader(role.Channel).ReadString('\n')
		return strings.TrimSpace(line), err
	case "said":
		select {
		case line := <-s.said:
			return line, nil
		case <-time.After(time.Minute):
			return "", errors.New("nothing was said")
		}
	case "status":
		<-s.role(args[0]).Exited()
		return s.role(args[0]).Status(), nil
	case "kill":
		s.role(args[0]).Kill()
		return "killed", nil
	case "exec": // [PROGRAM]
		return "", s.execute(args)
	case "signal":
		return (<-s.signals).String(), nil
	case "name":
		text, err := os.ReadFile("/proc/self/comm")
		return strings.TrimSpace(string(text)), err
	case "limit":
		return openFiles()
	case "inherited-limit":
		before := unix.Rlimit{}
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			return "", err
		}
		_ = syscall.Exec("", nil, nil) // the runtime restores the limit that it found
		limit, err := openFiles()
		return limit, errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	case "inherited":
		return inheritable(), nil
	}
	return "", errors.New("unknown word " + word)
}

func (s *starter) role(number string) *privsep.Role {
	n, _ := strconv.Atoi(number)
	return s.roles[n]
}

// execute returns on failure only, with everything as before.
func (s *starter) execute(args []string) error {
	path := "/proc/self/exe"
	if len(args) > 0 {
		path = args[0]
	}
	program, err := os.Open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	w, err := handover.NewWriter()
	if err != nil {
		return err
	}
	defer w.Close()
	var states []privsep.RoleState
	for _, role := range s.roles {
		states = append(states, role.HandOver(w))
	}
	text, err := json.Marshal(states)
	if err != nil {
		return err
	}
	if len(args) > 1 { // a role is to end in the midst of this
		if _, err := s.obey("tell", []string{args[1], "exit", "7"}); err != nil {
			return err
		}
		if err := unix.Waitid(unix.P_PID, s.role(args[1]).PID, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			return err
		}
	}
	_ = os.Setenv(starterState, string(text))
	err = s.thread.Exec(privsep.Execution{
		Program: program, Argv: os.Args, Env: os.Environ(), Keep: w.Descriptors(), OpenFiles: 1000,
		Signals: s.signals,
	})
	for _, role := range s.roles {
		role.Resume()
	}
	return err
}

func openFiles() (string, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return fmt.Sprint(limit.Cur), err
}

// inheritable lists the descriptors that a child would get.
func inheritable() string {
	var all []string
	paths, _ := filepath.Glob("/proc/self/fd/*")
	for _, path := range paths {
		fd, _ := strconv.Atoi(filepath.Base(path))
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			all = append(all, strconv.Itoa(fd))
		}
	}
	return strings.Join(all, " ")
}

// actRole obeys the lines on its channel. It answers each on the channel.
func actRole([]string) error {
	channel := os.NewFile(privsep.ChannelFD, "channel")
	lines := bufio.NewScanner(channel)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "line":
			fmt.Fprintln(os.Stderr, rest)
		case "part":
			fmt.Fprint(os.Stderr, rest)
		}
		fmt.Fprintln(channel, "done")
		if word == "exit" {
			status, _ := strconv.Atoi(rest)
			os.Exit(status)
		}
	}
	// The end of the channel does not end this role: it dies by the parent's death signal.
	for {
		time.Sleep(time.Hour)
	}
}
