package privsep

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
)

// Reenter restores after an execve what Drop set: the program keeps the real and effective ids, and
// the kernel sets the saved and file system ids to the effective ones. It proves on every thread
// what Drop proves. The next program calls it before anything else. Reenter needs no privilege, and
// refuses to start from other ids than Drop's. After an error the caller must end the process.
func Reenter(p Principals) error {
	// The kernel calls an execve with two user ids a secure one. The runtime then shows no stack.
	debug.SetTraceback("single")
	steps := []func() error{p.check, checkSecurebits, p.restoreIDs, SetNonDumpable}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return ProveDropped(p)
}

// CheckReenter returns why Reenter would fail if this process executed a program now. It is for the
// time before the execve, when there is a way back.
//
// It makes no call that every thread must carry out: one whose thread a command holds up in the
// kernel would never return.
func CheckReenter(p Principals) error {
	if err := p.check(); err != nil {
		return err
	}
	if !p.Separate() {
		return nil
	}
	return eachThread(checkNewPrivs)
}

// checkNewPrivs refuses no_new_privs: a kernel before Linux 6.16 then resets the effective ids to
// the real ones at an execve.
func checkNewPrivs(s status) error {
	if !slices.Equal(s["NoNewPrivs"], []string{"0"}) {
		return errors.New("no_new_privs is set, so the ids would not outlast an execve; " +
			"hint: restart the service instead, and remove NoNewPrivileges= from its unit")
	}
	return nil
}

// restoreIDs sets the saved ids to the real ones, and then the file system ids, which follow each
// change of the others.
func (p Principals) restoreIDs() error {
	if eachThread(p.checkThread) == nil {
		return nil
	}
	if err := eachThread(p.checkExecuted); err != nil {
		return err
	}
	if err := syscall.Setresgid(-1, -1, p.Role.GID); err != nil {
		return fmt.Errorf("cannot take the saved group %d: %w", p.Role.GID, err)
	}
	if err := syscall.Setresuid(-1, -1, p.Role.UID); err != nil {
		return fmt.Errorf("cannot take the saved user %d: %w", p.Role.UID, err)
	}
	return p.setFSIDs()
}

// checkExecuted checks the ids and groups of a thread that had dropped before it executed this
// program.
func (p Principals) checkExecuted(s status) error {
	for _, ids := range []struct {
		line, name string
		role, run  int
	}{{"Uid", "user", p.Role.UID, p.Run.UID}, {"Gid", "group", p.Role.GID, p.Run.GID}} {
		role, run := strconv.Itoa(ids.role), strconv.Itoa(ids.run)
		if want := []string{role, run, run, run}; !slices.Equal(s[ids.line], want) {
			return fmt.Errorf("%s ids are %v after the execve, not %v", ids.name, s[ids.line], want)
		}
	}
	return p.checkGroups(s)
}
