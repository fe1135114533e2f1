package privsep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Principals are the accounts of the daemon and of its commands.
type Principals struct {
	Run  User // commands
	Role User // the daemon's own processes; the same as Run where there is no other
}

// Separate reports whether commands run as another user than the daemon's processes.
func (p Principals) Separate() bool { return p.Role.UID != p.Run.UID }

// Drop gives up root for good on every thread of this process, the executor, and proves it. The
// real, saved and file system ids become the role user's, the effective ids and the groups the run
// user's. Commands get the run user's ids alone: so they cannot signal, trace or limit the
// executor, and the executor can start and end them without any capability.
//
// A process that has those ids already keeps them, and loses its capabilities. After an error the
// process may have any state between root and that, and the caller must end it.
func Drop(p Principals) error {
	steps := []func() error{p.check, checkSecurebits, p.setIDs, clearCapabilities, SetNonDumpable}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return ProveDropped(p)
}

// check also refuses a kernel setting under which the executor's memory is readable for an instant
// at each birth of a command: the child still shares it when it changes its ids.
func (p Principals) check() error {
	if err := p.Run.checkIDs(forCommands); err != nil {
		return err
	}
	if err := p.Role.checkIDs(forRoles); err != nil {
		return err
	}
	if !p.Separate() {
		return nil
	}
	if p.Role.GID == p.Run.GID {
		return fmt.Errorf("cannot separate commands from the daemon: "+
			"%q and %q have the same primary group; hint: give %q a group of its own",
			p.Role.Name, p.Run.Name, p.Role.Name)
	}
	setting, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	if err == nil && strings.TrimSpace(string(setting)) == "1" {
		return errors.New("cannot separate commands from the daemon: " +
			"the kernel setting fs.suid_dumpable is 1, which is for debugging and opens the " +
			"memory of privileged programs; hint: set it to 0 or 2 with sysctl")
	}
	return nil
}

// checkSecurebits refuses, on any thread, the modes in which capabilities outlive root's user id.
func checkSecurebits() error {
	const noSetuidFixup, keepCaps = 1 << 2, 1 << 4
	bits, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot read securebits: %w%s", errno, cgoHint(errno))
	}
	if bits&(noSetuidFixup|keepCaps) != 0 {
		return fmt.Errorf("cannot drop root: securebits %#x keep capabilities; "+
			"hint: remove keep-caps and no-setuid-fixup from SecureBits= of the unit", bits)
	}
	return nil
}

// setIDs sets the groups first, as only root may. The file system ids come last, as they follow
// each change of the effective ids.
func (p Principals) setIDs() error {
	if eachThread(p.checkThread) == nil {
		return nil
	}
	if err := syscall.Setgroups(p.Run.Groups); err != nil {
		return fmt.Errorf("cannot take the groups of %q: %w; hint: start as root, or as %q itself",
			p.Run.Name, err, p.Run.Name)
	}
	if err := syscall.Setresgid(p.Role.GID, p.Run.GID, p.Role.GID); err != nil {
		return fmt.Errorf("cannot become groups %d and %d: %w", p.Role.GID, p.Run.GID, err)
	}
	if err := syscall.Setresuid(p.Role.UID, p.Run.UID, p.Role.UID); err != nil {
		return fmt.Errorf("cannot become users %d and %d: %w", p.Role.UID, p.Run.UID, err)
	}
	return p.setFSIDs()
}

// setFSIDs sets the file system ids. Neither call returns an error when it is refused: ProveDropped
// finds that.
func (p Principals) setFSIDs() error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_SETFSGID, uintptr(p.Role.GID), 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot take the file system group %d: %w%s",
			p.Role.GID, errno, cgoHint(errno))
	}
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_SETFSUID, uintptr(p.Role.UID), 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot take the file system user %d: %w%s",
			p.Role.UID, errno, cgoHint(errno))
	}
	return nil
}

// clearCapabilities clears what a change of user leaves: the inheritable set, and with it the
// ambient set, which is always a part of it.
func clearCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return fmt.Errorf("cannot clear capabilities: %w%s", errno, cgoHint(errno))
	}
	return nil
}

// ProveDropped returns an error unless every thread has the ids (real, effective, saved, file
// system) and groups that Drop sets and holds no capability, and root's ids cannot be had back.
//
// The bounding set may hold capabilities: it grants none, and without it a program that has file
// capabilities, such as ping, could not be executed.
func ProveDropped(p Principals) error {
	if err := eachThread(p.checkThread); err != nil {
		return err
	}
	if err := eachThread(checkNoCapabilities); err != nil {
		return err
	}
	return proveNoWayBack()
}

// ProveRole returns an error unless each thread of this process, the network role, has one user and
// one group in all of its ids, neither of them root's, and holds no capability.
func ProveRole() error {
	if err := eachThread(checkOneUser); err != nil {
		return err
	}
	return eachThread(checkNoCapabilities)
}

// proveNoWayBack tries to become root again. It does not undo a try that succeeds: the caller ends
// the process.
func proveNoWayBack() error {
	tries := map[string]func() error{
		"setuid(0)":           func() error { return syscall.Setuid(0) },
		"setgid(0)":           func() error { return syscall.Setgid(0) },
		"setresuid(-1, 0, 0)": func() error { return syscall.Setresuid(-1, 0, 0) },
		"setresgid(-1, 0, 0)": func() error { return syscall.Setresgid(-1, 0, 0) },
		"setgroups(0)":        func() error { return syscall.Setgroups([]int{0}) },
	}
	for name, try := range tries {
		if err := try(); !errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("cannot prove that root is dropped: %s answered %v", name, err)
		}
	}
	return nil
}

// status holds the lines of /proc/self/task/TID/status, split into fields.
type status map[string][]string

// eachThread runs check on the status of every thread. It skips a thread that has ended; one that
// starts meanwhile inherits from a thread that is checked.
func eachThread(check func(status) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("cannot examine the threads of this process (is /proc mounted?): %w", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot examine thread %s: %w", task.Name(), err)
		}
		if err := check(parseStatus(string(text))); err != nil {
			return fmt.Errorf("cannot prove the privileges of thread %s: %w", task.Name(), err)
		}
	}
	return nil
}

func parseStatus(text string) status {
	s := status{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			s[key] = strings.Fields(value)
		}
	}
	return s
}

// checkThread checks the ids and groups of a thread that has dropped.
func (p Principals) checkThread(s status) error {
	for _, ids := range []struct {
		line, name string
		role, run  int
	}{{"Uid", "user", p.Role.UID, p.Run.UID}, {"Gid", "group", p.Role.GID, p.Run.GID}} {
		role, run := strconv.Itoa(ids.role), strconv.Itoa(ids.run)
		if want := []string{role, run, role, role}; !slices.Equal(s[ids.line], want) {
			return fmt.Errorf("%s ids are %v, not %v", ids.name, s[ids.line], want)
		}
	}
	return p.checkGroups(s)
}

func (p Principals) checkGroups(s status) error {
	want := make([]string, 0, len(p.Run.Groups))
	for _, g := range p.Run.Groups {
		want = append(want, strconv.Itoa(g))
	}
	if !slices.Equal(sortedSet(s["Groups"]), sortedSet(want)) {
		return fmt.Errorf("groups are %v, not %v", s["Groups"], want)
	}
	return nil
}

// sortedSet makes lists comparable: the kernel sorts groups, and keeps duplicates.
func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

func checkOneUser(s status) error {
	for _, kind := range []string{"Uid", "Gid"} {
		ids := slices.Compact(slices.Clone(s[kind]))
		if len(s[kind]) != 4 || len(ids) != 1 || ids[0] == "0" {
			return fmt.Errorf("the network role must be one ordinary user: %s is %v", kind, s[kind])
		}
	}
	return nil
}

// checkNoCapabilities wants a line of zeros for each set: a kernel that shows no such line is
// refused. CapAmb is absent before Linux 4.3.
func checkNoCapabilities(s status) error {
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if len(s[set]) == 0 && set == "CapAmb" {
			continue
		}
		if len(s[set]) != 1 || strings.Trim(s[set][0], "0") != "" {
			return fmt.Errorf("%s is %v, not empty", set, s[set])
		}
	}
	return nil
}
