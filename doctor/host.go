package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/units"
)

// checkProgram finds a program that others than root could replace, or that dffs can read: a process that
// executes it would then start within reach of the processes of dffs.
func checkProgram(p *patient) []Finding {
	path := p.program()
	info, err := os.Stat(path)
	if err != nil {
		return []Finding{failed("the program %s is missing: run install.sh of version %s, or install its package again", path, p.Version)}
	}
	owner, quoted := info.Sys().(*syscall.Stat_t).Uid, config.ShellQuote(path)
	switch mode := info.Mode(); {
	case p.UnitDir == "":
		return nil // started by hand, from wherever it was built
	case owner != 0 || mode.Perm()&0o022 != 0:
		return []Finding{failed("others than root can change %s (user %d, mode %04o)", path, owner, mode.Perm()).mendedBy("chown root:root " + quoted + " && chmod 0711 " + quoted)}
	case mode.Perm()&0o044 != 0:
		return []Finding{unwise("%s has mode %04o, so a network role that is being started can be looked into by commands", path, mode.Perm()).mendedBy("chmod 0711 " + quoted)}
	}
	return []Finding{well("%s is root's, and nobody else can read it", path)}
}

// program is the one that the service executes, or this one if there is no service.
func (p *patient) program() string {
	if unit := p.unitFile(units.Service); p.UnitDir != "" && unit != "" {
		for _, line := range units.SettingsOf(units.WithDropIns(unit, p.UnitDir), "ExecStart") {
			if path, _, _ := strings.Cut(strings.TrimLeft(line, "-@:+!"), " "); filepath.IsAbs(path) {
				return path
			}
		}
	}
	own, _ := os.Executable() // what cannot be told is found to be missing
	return own
}

// checkState finds a state directory that others can reach, or that is too small for what it may have to hold.
func checkState(p *patient) []Finding {
	quoted := config.ShellQuote(p.StateDir)
	info, err := os.Stat(p.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return []Finding{unwise("the state directory %s is missing: the next start makes it", p.StateDir)}
	}
	if err != nil {
		return []Finding{unwise("cannot look at the state directory: %v: run this as root", err)}
	}
	if p.UnitDir == "" {
		return []Finding{p.checkSpace("has room")} // whose it is to be, only who starts the daemon by hand knows
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 || info.Mode().Perm()&0o077 != 0 {
		return []Finding{failed("others than root can reach the state directory %s (user %d, mode %04o)", p.StateDir, owner, info.Mode().Perm()).
			mendedBy("chown root:root " + quoted + " && chmod 0700 " + quoted)}
	}
	return []Finding{p.checkSpace("is root's alone and has room")}
}

// checkSpace says what is well of a directory that has room.
func (p *patient) checkSpace(praise string) Finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(p.StateDir, &fs); err != nil {
		return unwise("cannot tell how much space the state directory has: %v", err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	switch {
	case fs.Files > 0 && fs.Ffree == 0:
		return failed("the file system of %s has no inode left: remove files there", p.StateDir)
	case free < 1<<20:
		return failed("the file system of %s is full: free some of it", p.StateDir)
	case free < p.settings.MaxState:
		return unwise("the file system of %s has %d MiB left, less than MAX_STATE (%d MiB): free some of it, or lower MAX_STATE", p.StateDir, free>>20, p.settings.MaxState>>20)
	}
	return well("the state directory %s %s", p.StateDir, praise)
}

// checkSandbox asks this kernel for what confines the network role.
func checkSandbox(*patient) []Finding {
	actions, _ := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail") // missing is as good as empty
	return []Finding{judgeSeccomp(string(actions)), judgeLandlock(privsep.LandlockABI())}
}

func judgeSeccomp(actions string) Finding {
	if !strings.Contains(actions, "errno") {
		return failed("this kernel has no seccomp filters, without which the service does not start: use one with CONFIG_SECCOMP_FILTER")
	}
	return well("seccomp is there")
}

func judgeLandlock(abi int, err error) Finding {
	switch {
	case err != nil:
		return unwise("Landlock is not there (%v), so the network role is kept from files by seccomp and their modes alone: "+
			"use Linux 5.13 or later with landlock in its lsm= list", err)
	case abi < 6:
		return well("Landlock is there in version %d; from version 6 (Linux 6.12) it guards signals and abstract sockets too", abi)
	}
	return well("Landlock is there in version %d", abi)
}

// checkDumps finds the setting under which processes that changed their user can be looked into.
func checkDumps(*patient) []Finding {
	text, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	if err != nil {
		return nil // a container that hides it
	}
	return []Finding{judgeDumps(strings.TrimSpace(string(text)))}
}

func judgeDumps(setting string) Finding {
	if setting == "1" {
		return unwise("fs.suid_dumpable is 1, a setting for debugging: processes that have given up root, and may know secrets, can be dumped and traced").
			mendedBy("sysctl -w fs.suid_dumpable=0")
	}
	return well("processes that have given up root cannot be dumped or traced (fs.suid_dumpable is %s)", setting)
}

// checkClock asks the kernel whether something keeps its clock right: signatures hold for TIME_WINDOW.
func checkClock(p *patient) []Finding {
	state, err := unix.Adjtimex(&unix.Timex{})
	return []Finding{judgeClock(state, err, p.settings.TimeWindow)}
}

func judgeClock(state int, err error, window time.Duration) Finding {
	switch {
	case errors.Is(err, unix.EPERM):
		return well("the clock is kept by the host of this container")
	case err != nil:
		return unwise("cannot ask whether the clock is synchronised: %v", err)
	case state == unix.TIME_ERROR:
		return unwise("the clock is not synchronised, and requests are refused when it is off by more than TIME_WINDOW (%s)", window).
			mendedBy("timedatectl set-ntp true")
	}
	return well("the clock is synchronised")
}
