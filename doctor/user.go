package doctor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep"
)

// checkUser finds the user whom commands run as, in the way of the daemon.
func checkUser(p *patient) []Finding {
	_, err := privsep.LookupUser(p.User)
	switch {
	case errors.Is(err, privsep.ErrUnknownUser):
		name := config.ShellQuote(p.User)
		return []Finding{failed("there is no user %s", p.User).mendedBy("useradd --system --user-group --create-home " + name)}
	case err != nil:
		return []Finding{failed("%v", err)}
	}
	return []Finding{well("user %s exists, uid %d", p.User, p.account.UID)}
}

// known says whether there is a user to look as, and the right to do so.
func (p *patient) known() bool {
	return p.account.Name != "" && (os.Geteuid() == 0 || os.Geteuid() == p.account.UID)
}

// checkWorkdir finds a directory in which commands could not start.
func checkWorkdir(p *patient) []Finding {
	workdir, origin := p.settings.Workdir, "WORKDIR"
	if workdir == "" {
		workdir, origin = p.account.Home, "the home directory of "+p.User
	}
	if workdir == "" {
		return nil // there is no user, and that was said
	}
	info, err := os.Stat(workdir)
	switch {
	case errors.Is(err, os.ErrNotExist) && p.settings.Workdir == "":
		return []Finding{unwise("%s, %s, is missing, so commands start in /", origin, workdir).mendedBy(p.makeDirectory(workdir))}
	case errors.Is(err, os.ErrNotExist) && p.account.Name != "":
		return []Finding{failed("%s, %s, is missing", origin, workdir).mendedBy(p.makeDirectory(workdir))}
	case err != nil || !info.IsDir():
		return []Finding{failed("%s, %s, is not a directory: create it, or write an existing one to WORKDIR", origin, workdir)}
	case !p.known():
		return []Finding{well("%s, %s, exists", origin, workdir)}
	}
	if err := p.account.CanEnter(workdir); err != nil {
		return []Finding{failed("user %s cannot enter %s, %s (%v): give it the right to enter that and every directory above, or write another path to WORKDIR",
			p.User, origin, workdir, err)}
	}
	return []Finding{well("%s, %s, exists, and user %s can enter it", origin, workdir, p.User)}
}

func (p *patient) makeDirectory(path string) string {
	return "install -d -o " + config.ShellQuote(p.User) + " -m 0750 " + config.ShellQuote(path)
}

// checkShell finds a shell that the user could not execute.
func checkShell(p *patient) []Finding {
	shell := p.settings.Shell
	info, err := os.Stat(shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return []Finding{failed("SHELL, %s, is not an executable file: write SHELL = \"/bin/sh\"", shell)}
	}
	if !p.known() {
		return []Finding{well("SHELL, %s, is executable", shell)}
	}
	if err := p.account.CanExecute(shell); errors.Is(err, unix.EACCES) {
		return []Finding{failed("user %s cannot execute SHELL, %s: its mode, that of a directory above, or noexec of its file system is in the way; "+
			"mend that, or write SHELL = \"/bin/sh\"", p.User, shell)}
	} else if err != nil {
		return []Finding{failed("user %s cannot execute SHELL, %s: %v", p.User, shell, err)}
	}
	return []Finding{well("SHELL, %s, is executable for user %s", shell, p.User)}
}
