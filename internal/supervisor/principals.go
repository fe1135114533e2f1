package supervisor

import (
	"errors"
	"os"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep"
)

// DefaultRoleUser is the account of the daemon's own processes that an installation creates.
const DefaultRoleUser = "dffs-sidecar"

// lookUpPrincipals finds the accounts of commands and of the daemon, and logs which separation is
// missing. A daemon started by an ordinary user runs everything as that user.
func lookUpPrincipals(
	user, roleUser string, log *journal.Log,
) (p privsep.Principals, err error) {
	defer func() {
		if p.Run.Note != "" {
			log.Write(journal.Degraded(), p.Run.Note, nil)
		}
	}()
	if os.Geteuid() != 0 {
		p.Run, err = privsep.CurrentUser()
		p.Role = p.Run
		if err == nil {
			logf(log, journal.Degraded(), "Started without root, which is for development only: "+
				"commands run as %q like the daemon itself, can read the key and the "+
				"configuration, and can stop the daemon; --user and --role-user have no effect; "+
				"hint: start it as root, as the unit does", p.Run.Name)
		}
		return p, err
	}
	if p.Run, err = privsep.LookupUser(user); err != nil {
		return p, err
	}
	name := roleUser
	if name == "" {
		name = DefaultRoleUser
	}
	p.Role, err = privsep.LookupRoleUser(name)
	if errors.Is(err, privsep.ErrUnknownUser) && roleUser == "" {
		p.Role, err = p.Run, nil
	}
	if err == nil && !p.Separate() {
		logf(log, journal.Degraded(), "The daemon's processes run as %q like the commands, "+
			"which can therefore stop, limit and trace them; hint: create a user for the daemon, "+
			"then restart: useradd --system --user-group --no-create-home --home-dir /nonexistent "+
			"--shell /usr/sbin/nologin %s", p.Run.Name, DefaultRoleUser)
	}
	return p, err
}
