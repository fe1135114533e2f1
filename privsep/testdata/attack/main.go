// Command attack is what the tests of privsep execute: it takes the place of a role that has been
// taken over, tries what an attacker would try from inside, and prints one line saying how the
// kernel answered.
//
//	attack drop UID GID GROUPS          drop, then report and try to get back
//	attack in LAYERS MODE [ARG...]      enter the sandbox, then run a mode
//	attack MODE [ARG...]                run a mode without any of it
//	attack each ATTACK...               try several attacks in one process
//
// LAYERS is landlock, seccomp or both.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"dataflux-func-sidecar/privsep"
)

func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(outcome(err))
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 2 && args[0] == "in":
		return enter(args[1], args[2:])
	case len(args) > 1 && args[0] == "seccomp":
		listeners, err := inherited()
		if err == nil {
			err = privsep.InstallSeccomp(listeners)
		}
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		return run(args[1:])
	case len(args) > 1 && args[0] == "landlocked":
		if err := privsep.LandlockInForce(); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		return run(args[1:])
	}
	return mode(args)
}

// enter goes through the stages as the network role does. It never does so on the thread that the
// process began with: main keeps that one locked.
func enter(layers string, args []string) error {
	failed := make(chan error)
	go func() { failed <- enterHere(layers, args) }()
	return <-failed
}

func enterHere(layers string, args []string) error {
	if layers == "seccomp" {
		return run(append([]string{"seccomp"}, args...))
	}
	domain, err := privsep.EnterLandlock()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	next := []string{os.Args[0], "landlocked"}
	if layers == "both" {
		next = append(next, "seccomp")
	}
	return fmt.Errorf("sandbox: %w", domain.Reexec(append(next, args...), os.Environ()))
}

func mode(args []string) error {
	if len(args) == 0 {
		return errors.New("no mode named")
	}
	if attack, ok := attacks[args[0]]; ok {
		fmt.Println(outcome(attack()))
		return nil
	}
	if args[0] == "each" {
		for _, name := range args[1:] {
			fmt.Println(outcome(attacks[name]()))
		}
		return nil
	}
	program, ok := programs[args[0]]
	if !ok {
		return fmt.Errorf("unknown mode %q", args[0])
	}
	return program(args[1:])
}

// programs are the modes that say themselves what they found.
var programs = map[string]func([]string) error{
	"drop":            drop,
	"drop-reenter":    dropAndReenter,
	"reenter":         reenter,
	"reenter-panic":   reenterAndPanic,
	"check-reenter":   checkReenter,
	"start-roles":     startRoles,
	"role":            actRole,
	"serve":           serve,
	"listening":       attackListening,
	"resolve":         resolve,
	"dnsworld":        dnsWorld,
	"sleep":           sleep,
	"peek":            peek,
	"threads":         filterOnNewThreads,
	"divergent":       divergentThread,
	"without":         withoutSyscall,
	"close-on-exec":   closeOnExec,
	"bind-by-default": bindByDefault,
}

// outcome names the error number, so that tests can compare it.
func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "succeeded"
	case errors.As(err, &errno) && errnoNames[errno] != "":
		return errnoNames[errno]
	}
	return err.Error()
}

var errnoNames = map[syscall.Errno]string{
	syscall.EPERM: "EPERM", syscall.EACCES: "EACCES",
	syscall.ENOSYS: "ENOSYS", syscall.EINVAL: "EINVAL",
}
