package check

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/units"
)

// checkUser finds out whether the user of commands exists and can run them, as the daemon does.
func checkUser(c *checker) []Finding {
	err := c.accountErr
	switch {
	case errors.Is(err, privsep.ErrUnknownUser):
		name, home := config.ShellQuote(c.User), config.ShellQuote("/home/"+c.User)
		return []Finding{failure("there is no user %s in /etc/passwd or in a directory service "+
			"(LDAP, SSSD) that answers", c.User).
			fix("useradd --system --user-group --create-home --home-dir " + home + " --shell " +
				nologin() + " " + name +
				// A home directory that was there may have another owner.
				" && install -d -o " + name + " -g " + name + " -m 0750 " + home)}
	case err != nil:
		return []Finding{failure("%v", err)}
	case c.account.Note != "":
		return []Finding{warning("%s", c.account.Note)}
	}
	return []Finding{ok("user %s exists, uid %d", c.User, c.account.UID)}
}

// canAct reports whether this process may act as the user of commands.
func (c *checker) canAct() bool {
	return c.account.Name != "" && (os.Geteuid() == 0 || os.Geteuid() == c.account.UID)
}

// checkWorkdir finds a working directory in which commands cannot start.
func checkWorkdir(c *checker) []Finding {
	workdir, origin := c.settings.Workdir, "WORKDIR"
	if workdir == "" {
		workdir, origin = c.account.Home, "the home directory of "+c.User
	}
	if workdir == "" {
		return nil // checkUser reports that there is no user
	}
	info, err := os.Stat(workdir)
	switch {
	case errors.Is(err, os.ErrNotExist) && c.settings.Workdir == "":
		return []Finding{warning("%s, %s, is missing, so commands start in /", origin,
			workdir).fix(c.makeDirectory(workdir))}
	case errors.Is(err, os.ErrNotExist) && c.account.Name != "":
		return []Finding{failure("%s, %s, is missing", origin,
			workdir).fix(c.makeDirectory(workdir))}
	case err != nil || !info.IsDir():
		return []Finding{failure("%s, %s, is not a directory: create it, or write an existing "+
			"one to WORKDIR", origin, workdir)}
	case !c.canAct():
		return []Finding{ok("%s, %s, exists", origin, workdir)}
	}
	if err := c.account.CanEnter(workdir); err != nil {
		return []Finding{failure("user %s cannot enter %s, %s (%v): give it the right to enter "+
			"that and every directory above, or write another path to WORKDIR",
			c.User, origin, workdir, err)}
	}
	return []Finding{ok("%s, %s, exists, and user %s can enter it", origin, workdir, c.User)}
}

func (c *checker) makeDirectory(path string) string {
	return "install -d -o " + config.ShellQuote(c.User) + " -m 0750 " + config.ShellQuote(path)
}

// checkShell finds a shell that the user cannot execute.
func checkShell(c *checker) []Finding {
	shell := c.settings.Shell
	info, err := os.Stat(shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return []Finding{failure("SHELL, %s, is not an executable file: write SHELL = \"/bin/sh\"",
			shell)}
	}
	if !c.canAct() {
		return []Finding{ok("SHELL, %s, is executable", shell)}
	}
	if err := c.account.CanExecute(shell); errors.Is(err, unix.EACCES) {
		return []Finding{failure("user %s cannot execute SHELL, %s, because of its mode, that of "+
			"a directory above, or noexec of its file system: change that, or write SHELL = "+
			"\"/bin/sh\"", c.User, shell)}
	} else if err != nil {
		return []Finding{failure("user %s cannot execute SHELL, %s: %v", c.User, shell, err)}
	}
	return []Finding{ok("SHELL, %s, is executable for user %s", shell, c.User)}
}

// checkLogin finds ways to a session of the user outside of the service, where neither limits nor a
// stop apply, and a home directory that is open to others.
func checkLogin(c *checker) (found []Finding) {
	if c.account.Name == "" {
		return nil // checkUser reports it
	}
	if !slices.Contains([]string{"nologin", "false"}, filepath.Base(c.account.Shell)) {
		name := config.ShellQuote(c.User)
		found = append(found, warning("user %s has the login shell %s, so a command that writes "+
			"~/.ssh/authorized_keys gets sessions outside of the service. Commands do not need "+
			"it, as they have SHELL; write DenyUsers %s into /etc/ssh/sshd_config as well",
			c.User, c.account.Shell, c.User).fix("usermod --shell "+nologin()+" "+name))
	}
	found = append(found, checkHome(c.account)...)
	if len(found) == 0 {
		found = append(found, ok("user %s has no login shell, and its home directory is closed "+
			"to others", c.User))
	}
	return found
}

// checkHome looks at modes and names only: commands write the content of the directory.
func checkHome(account privsep.User) (found []Finding) {
	info, err := os.Stat(account.Home)
	if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != account.UID {
		return nil // checkWorkdir reports a missing one; another user's is up to that user
	}
	closed := "chmod o-rwx " + config.ShellQuote(account.Home)
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		found = append(found, warning("everyone can write to %s, the home directory of %s",
			account.Home, account.Name).fix(closed))
	case mode&0o004 != 0:
		found = append(found, warning("everyone can list %s, the home directory of %s",
			account.Home, account.Name).fix(closed))
	}
	if path := filepath.Join(account.Home, ".ssh"); exists(path) {
		found = append(found, warning("there is %s: keys that commands write there open sessions "+
			"outside of the service, and forward ports even without a login shell: write "+
			"DenyUsers %s into /etc/ssh/sshd_config, or remove it if no command uses ssh",
			path, account.Name))
	}
	if path := filepath.Join(account.Home, ".forward"); exists(path) {
		found = append(found, warning("there is %s: a mail to %s can run a program that it "+
			"names, outside of the service: look at it, and remove it", path, account.Name))
	}
	return found
}

// nologin returns the path of the shell that refuses logins.
func nologin() string {
	for _, path := range []string{"/usr/sbin/nologin", "/sbin/nologin"} {
		if exists(path) {
			return path
		}
	}
	return "/bin/false"
}

// RoleID is the user id of the daemon, or -1 if that is also the user of its commands.
func RoleID(roleUser, runUser string) int {
	role, err := privsep.LookupRoleUser(roleUser)
	if err != nil {
		return -1
	}
	if run, err := privsep.LookupUser(runUser); err == nil && run.UID == role.UID {
		return -1
	}
	return role.UID
}

// checkRoleUser finds a daemon that commands can signal and limit.
func checkRoleUser(c *checker) []Finding {
	if c.UnitDir == "" {
		return nil // a start by hand, maybe by an ordinary user
	}
	role, err := privsep.LookupRoleUser(c.RoleUser)
	name := config.ShellQuote(c.RoleUser)
	switch {
	case errors.Is(err, privsep.ErrUnknownUser):
		return []Finding{warning("there is no user %s, so the daemon is user %s, and commands "+
			"can stop, kill and limit it", c.RoleUser, c.User).
			fix("useradd --system --user-group --no-create-home --home-dir /nonexistent " +
				"--comment 'DataFlux Func Sidecar daemon' --shell " + nologin() + " " + name +
				" && " + units.Restart)}
	case err != nil:
		return []Finding{failure("the daemon cannot be user %s (%v): remove that user (userdel "+
			"%s) and run install.sh again, or install the package again", c.RoleUser, err, name)}
	case role.UID == c.account.UID || role.GID == c.account.GID:
		return []Finding{failure("user %s has the user or group number of %s, so commands can "+
			"stop, kill and limit the daemon: remove that user (userdel %s) and run install.sh "+
			"again, or install the package again", c.RoleUser, c.User, name)}
	}
	return []Finding{ok("user %s, the user of the daemon, exists, uid %d", c.RoleUser, role.UID)}
}
