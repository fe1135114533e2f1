// Package check looks at everything that the service needs on this host. For each thing it says
// whether it is right, and what fixes it.
//
// It changes nothing and shows no key. It asks systemctl, and lets the service run one command that
// changes nothing.
package check

import (
	"errors"
	"os"
	"strings"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/units"
)

// SystemUnits is the directory in which systemd looks for the units of a host's administrator.
const SystemUnits = "/etc/systemd/system"

// Options say what to check, and what to expect.
type Options struct {
	Config     string // the configuration file
	UnitDir    string // the directory of the systemd units; empty: none, for a start by hand
	StateDir   string // the state directory
	User       string // the user who runs commands
	RoleUser   string // the user of the daemon
	ConfigOnly bool   // check the configuration, and not this host
	Offline    bool   // do not call the service

	Version string // of this program
	Welcome string // what a service of this version answers to GET /
}

// scope says when a check makes sense.
type scope int

const (
	always    scope = iota
	withUnits       // onHost, and UnitDir is given
	onHost          // not with ConfigOnly
	live            // onHost, and systemd has the units
	calling         // onHost, and not with Offline
)

// check is one subject. Its function returns all findings about it.
type check struct {
	name  string
	scope scope
	run   func(*checker) []Finding
}

// checks is the table of all checks, causes before their consequences. They follow "configuration",
// which loads the file.
func checks() []check {
	return []check{
		// configuration.go, tls.go
		{"keys", always, checkKeys},
		{"addresses", always, checkAddresses},
		{"callers", always, checkCallers},
		{"tls", always, checkTLS},
		{"sudo", always, checkSudo},
		{"bridge", onHost, checkBridge},
		// firewall.go
		{"firewall", onHost, checkFirewall},
		// user.go
		{"user", onHost, checkUser},
		{"workdir", always, checkWorkdir},
		{"shell", always, checkShell},
		{"login", onHost, checkLogin},
		// actions.go
		{"actions", onHost, checkActions},
		{"roles", onHost, checkRoleUser},
		// host.go
		{"program", onHost, checkProgram},
		{"state", onHost, checkState},
		{"sandbox", onHost, checkSandbox},
		{"dumps", onHost, checkDumps},
		{"clock", onHost, checkClock},
		// limits.go
		{"limits", onHost, checkLimits},
		// units.go
		{"ports", live, checkPorts},
		{"units", live, checkUnits},
		{"hardening", live, checkHardening},
		{"agreement", withUnits, checkAgreement},
		{"service", live, checkService},
		{"bounds", live, checkBounds},
		{"metrics", live, checkMetrics},
		// freshness.go
		{"freshness", live, checkFreshness},
		// call.go
		{"answers", calling, checkAnswers},
		{"call", calling, checkCall},
	}
}

// checker holds the input of the checks.
type checker struct {
	Options
	settings   config.Config
	account    privsep.User                // of User; zero if there is none
	accountErr error                       // of looking it up
	units      map[string]units.Properties // as systemd has them; nil if it was not asked
}

// Run makes the checks and reports each finding at once. With an invalid configuration it reports
// only what is wrong with that.
func Run(o Options, report func(Finding)) {
	c := &checker{Options: o}
	add := func(name string, found ...Finding) {
		for _, f := range found {
			f.Check = name
			report(f)
		}
	}
	var err error
	if c.settings, err = config.Load(o.Config); err != nil {
		add("configuration", failures(err)...)
		return
	}
	add("configuration", ok("%s is valid, and only its owner can read or write it", o.Config))
	c.account, c.accountErr = privsep.LookupUser(o.User)
	examinesHost := !o.ConfigOnly
	_, err = os.Stat("/run/systemd/system")
	if examinesHost && err == nil && o.UnitDir == SystemUnits {
		c.units, err = units.ShowSettled(askedProperties(), units.Names()...)
		if err != nil {
			add("service", failure("%v", err))
		}
	}
	scopes := map[scope]bool{
		always: true, withUnits: examinesHost && o.UnitDir != "", onHost: examinesHost,
		live: c.units != nil, calling: examinesHost && !o.Offline,
	}
	for _, check := range checks() {
		if scopes[check.scope] {
			add(check.name, check.run(c)...)
		}
	}
}

// failures returns a finding for each of the joined errors, with the command that fixes it.
func failures(err error) (found []Finding) {
	for _, one := range config.Failures(err) {
		fixable, isFixable := errors.AsType[*config.Fixable](one)
		if !isFixable {
			found = append(found, failure("%v", one))
			continue
		}
		message := strings.TrimSuffix(one.Error(), ": run "+fixable.Command)
		found = append(found, failure("%s", message).fix(fixable.Command))
	}
	return found
}
