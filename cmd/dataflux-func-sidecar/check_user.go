package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep"
)

// checkUser finds the user whom commands run as, in the way of the daemon.
func checkUser(p *patient) []finding {
	_, err := privsep.LookupUser(p.user)
	switch {
	case errors.Is(err, privsep.ErrUnknownUser):
		name := config.ShellQuote(p.user)
		return []finding{failed("there is no user %s", p.user).mendedBy("useradd --system --user-group --create-home " + name)}
	case err != nil:
		return []finding{failed("%v", err)}
	}
	return []finding{well("user %s exists, uid %d", p.user, p.account.UID)}
}

// known says whether there is a user to look as, and the right to do so.
func (p *patient) known() bool {
	return p.account.Name != "" && (os.Geteuid() == 0 || os.Geteuid() == p.account.UID)
}

// checkWorkdir finds a directory in which commands could not start.
func checkWorkdir(p *patient) []finding {
	workdir, origin := p.settings.Workdir, "WORKDIR"
	if workdir == "" {
		workdir, origin = p.account.Home, "the home directory of "+p.user
	}
	if workdir == "" {
		return nil // there is no user, and that was said
	}
	info, err := os.Stat(workdir)
	switch {
	case errors.Is(err, os.ErrNotExist) && p.settings.Workdir == "":
		return []finding{unwise("%s, %s, is missing, so commands start in /", origin, workdir).mendedBy(p.makeDirectory(workdir))}
	case errors.Is(err, os.ErrNotExist) && p.account.Name != "":
		return []finding{failed("%s, %s, is missing", origin, workdir).mendedBy(p.makeDirectory(workdir))}
	case err != nil || !info.IsDir():
		return []finding{failed("%s, %s, is not a directory: create it, or write an existing one to WORKDIR", origin, workdir)}
	case !p.known():
		return []finding{well("%s, %s, exists", origin, workdir)}
	}
	if err := p.account.CanEnter(workdir); err != nil {
		return []finding{failed("user %s cannot enter %s, %s (%v): give it the right to enter that and every directory above, or write another path to WORKDIR",
			p.user, origin, workdir, err)}
	}
	return []finding{well("%s, %s, exists, and user %s can enter it", origin, workdir, p.user)}
}

func (p *patient) makeDirectory(path string) string {
	return "install -d -o " + config.ShellQuote(p.user) + " -m 0750 " + config.ShellQuote(path)
}

// checkShell finds a shell that the user could not execute.
func checkShell(p *patient) []finding {
	shell := p.settings.Shell
	info, err := os.Stat(shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return []finding{failed("SHELL, %s, is not an executable file: write SHELL = \"/bin/sh\"", shell)}
	}
	if !p.known() {
		return []finding{well("SHELL, %s, is executable", shell)}
	}
	if err := p.account.CanExecute(shell); errors.Is(err, unix.EACCES) {
		return []finding{failed("user %s cannot execute SHELL, %s: its mode, that of a directory above, or noexec of its file system is in the way; "+
			"mend that, or write SHELL = \"/bin/sh\"", p.user, shell)}
	} else if err != nil {
		return []finding{failed("user %s cannot execute SHELL, %s: %v", p.user, shell, err)}
	}
	return []finding{well("SHELL, %s, is executable for user %s", shell, p.user)}
}
