package check

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/units"
)

// checkProgram finds a program that other users can replace or read. A process of a readable
// program starts dumpable, so processes of dffs can trace it.
func checkProgram(c *checker) []Finding {
	path := c.program()
	info, err := os.Stat(path)
	if err != nil {
		return []Finding{failure("the program %s is missing: %s", path, c.reinstall())}
	}
	owner, quoted := info.Sys().(*syscall.Stat_t).Uid, config.ShellQuote(path)
	switch mode := info.Mode(); {
	case c.UnitDir == "":
		return nil // a start by hand, from the directory of a build
	case owner != 0 || mode.Perm()&0o022 != 0:
		return []Finding{failure("others than root can change %s (user %d, mode %04o)", path, owner,
			mode.Perm()).
			fix("chown root:root " + quoted + " && chmod 0711 " + quoted)}
	case mode.Perm()&0o044 != 0:
		return []Finding{warning("%s has mode %04o, so commands can trace a network role while "+
			"it starts", path, mode.Perm()).
			fix("chmod 0711 " + quoted)}
	}
	return []Finding{ok("%s is root's, and no other user can read it", path)}
}

// program returns the path of the program that the service executes, or of this process.
func (c *checker) program() string {
	if path := c.units[units.Service].Program(); path != "" {
		return path
	}
	own, _ := os.Executable() // checkProgram reports the empty path of an error
	return own
}

// checkState finds a state directory that other users can enter, or with less room than MAX_STATE.
func checkState(c *checker) []Finding {
	quoted := config.ShellQuote(c.StateDir)
	info, err := os.Stat(c.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return []Finding{warning("the state directory %s is missing: the next start makes it",
			c.StateDir)}
	}
	if err != nil {
		return []Finding{warning("cannot look at the state directory: %v: run this as root", err)}
	}
	if c.UnitDir == "" {
		return []Finding{c.checkSpace("has room")} // a start by hand may have any owner
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 || info.Mode().Perm()&0o077 != 0 {
		return []Finding{failure("others than root can reach the state directory %s (user %d, "+
			"mode %04o)", c.StateDir, owner, info.Mode().Perm()).
			fix("chown root:root " + quoted + " && chmod 0700 " + quoted)}
	}
	return []Finding{c.checkSpace("is root's alone and has room")}
}

// checkSpace returns the finding about free space; good completes the message if there is enough.
func (c *checker) checkSpace(good string) Finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.StateDir, &fs); err != nil {
		return warning("cannot tell how much space the state directory has: %v", err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	switch {
	case fs.Files > 0 && fs.Ffree == 0:
		return failure("the file system of %s has no inode left: remove files there", c.StateDir)
	case free < 1<<20:
		return failure("the file system of %s is full: free some of it", c.StateDir)
	case free < c.settings.MaxState:
		return warning("the file system of %s has %d MiB left, less than MAX_STATE (%d MiB): "+
			"free some of it, or lower MAX_STATE", c.StateDir, free>>20, c.settings.MaxState>>20)
	}
	return ok("the state directory %s %s", c.StateDir, good)
}

// checkSandbox finds out which sandboxes of the network role this kernel has.
func checkSandbox(*checker) []Finding {
	// a missing file is like an empty one
	actions, _ := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	return []Finding{seccompFinding(string(actions)), landlockFinding(privsep.LandlockABI())}
}

func seccompFinding(actions string) Finding {
	if !strings.Contains(actions, "errno") {
		return failure("this kernel has no seccomp filters, without which the service does not " +
			"start: use one with CONFIG_SECCOMP_FILTER")
	}
	return ok("the kernel has seccomp filters")
}

func landlockFinding(abi int, err error) Finding {
	switch {
	case err != nil:
		return warning("the kernel has no Landlock (%v), so only seccomp and file modes keep the "+
			"network role from files: use Linux 5.13 or later with landlock in its lsm= list", err)
	case abi < 6:
		return ok("the kernel has Landlock, version %d; from version 6 (Linux 6.12) it guards "+
			"signals and abstract sockets too", abi)
	}
	return ok("the kernel has Landlock, version %d", abi)
}

// checkDumps finds the sysctl with which processes stay dumpable after a change of their user.
func checkDumps(*checker) []Finding {
	text, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	if err != nil {
		return nil // a container that hides it
	}
	return []Finding{dumpsFinding(strings.TrimSpace(string(text)))}
}

func dumpsFinding(setting string) Finding {
	if setting == "1" {
		return failure("fs.suid_dumpable is 1, a setting for debugging: the daemon refuses to " +
			"start, as commands could read its memory").
			fix("sysctl -w fs.suid_dumpable=0")
	}
	return ok("processes that have given up root cannot be dumped or traced (fs.suid_dumpable is "+
		"%s)", setting)
}

// checkClock asks the kernel whether its clock is synchronized: signatures are valid for
// TIME_WINDOW.
func checkClock(c *checker) []Finding {
	state, err := unix.Adjtimex(&unix.Timex{})
	return []Finding{clockFinding(state, err, c.settings.TimeWindow)}
}

func clockFinding(state int, err error, window time.Duration) Finding {
	switch {
	case errors.Is(err, unix.EPERM):
		return ok("the host of this container keeps the clock")
	case err != nil:
		return warning("cannot ask whether the clock is synchronized: %v", err)
	case state == unix.TIME_ERROR:
		return warning("the clock is not synchronized, and requests are refused when it is off "+
			"by more than TIME_WINDOW (%s); install chrony or systemd-timesyncd if this host has "+
			"neither", window).fix("timedatectl set-ntp true")
	}
	return ok("the clock is synchronized")
}
