package main

import (
	"errors"
	"os"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep"
)

const checkUsage = `check [OPTIONS]

Looks at everything that the service needs, and says of each thing whether it is well, and what mends it.
It changes nothing and shows no key. It ends with one real call, which runs "id -un".

Exit status: 0 if nothing is wrong, though there may be warnings; 1 otherwise.`

// systemUnits is where systemd looks for what the administrator of a host has written.
const systemUnits = "/etc/systemd/system"

type checkOptions struct {
	config, unitDir, stateDir, user string
	configOnly, offline, json       bool
}

func parseCheck(args []string, t terminal) (o checkOptions, err error) {
	flags := t.newFlags("check", checkUsage)
	flags.StringVar(&o.config, "config", defaultConfig, "configuration `FILE`")
	flags.BoolVar(&o.configOnly, "config-only", false, "look at what the configuration says, and not at this host's installation and service")
	flags.BoolVar(&o.json, "json", false, "print one JSON document")
	flags.BoolVar(&o.offline, "offline", false, "call nothing: leave out whether the service answers")
	flags.StringVar(&o.stateDir, "state-dir", stateDirectory(), "the `DIRECTORY` for what must survive a restart")
	flags.StringVar(&o.unitDir, "unit-dir", systemUnits, "`DIRECTORY` of the systemd units; empty: do not look, for a start by hand")
	flags.StringVar(&o.user, "user", "dffs", "`NAME` of the user who runs commands")
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) > 0 {
		err = errors.New("check takes no arguments beside its options: give the file with --config")
		t.say("%v", err)
	}
	return o, err
}

// runCheck changes nothing and never prints a key.
func runCheck(args []string, t terminal) int {
	o, err := parseCheck(args, t)
	if err != nil {
		return refuseUsage(err, 2)
	}
	r := &report{terminal: t, json: o.json}
	diagnose(o, r)
	return r.finish()
}

// patient is what the checks look at.
type patient struct {
	checkOptions
	settings config.Config
	account  privsep.User // none if there is no such user
	systemd  systemd      // what it says of the units
}

// scope says where a check makes sense.
type scope int

const (
	always    scope = iota
	installed       // there are units, of whichever directory
	onHost          // this host is meant to serve
	live            // systemd has these units
	calling         // the service may be called
)

// check is one theme of what is looked at.
type check struct {
	name  string
	scope scope
	look  func(*patient) []finding
}

// checks are made in this order. Each returns all that it has found.
func checks() []check {
	return []check{
		{"keys", always, checkKeys},
		{"addresses", always, checkAddresses},
		{"tls", always, checkTLS},
		{"bridge", onHost, checkBridge},
		{"user", always, checkUser},
		{"workdir", always, checkWorkdir},
		{"shell", always, checkShell},
		{"agreement", installed, checkAgreement},
		{"program", onHost, checkProgram},
		{"state", onHost, checkState},
		{"sandbox", onHost, checkSandbox},
		{"dumps", onHost, checkDumps},
		{"clock", onHost, checkClock},
		{"units", live, checkUnitFiles},
		{"service", live, checkService},
		{"metrics", live, checkMetrics},
		{"freshness", live, checkFreshness},
		{"answers", calling, checkAnswers},
		{"call", calling, checkCall},
	}
}

// diagnose makes every check that makes sense. Without a configuration there is nothing to compare with.
func diagnose(o checkOptions, r *report) {
	p := &patient{checkOptions: o}
	found, err := p.load()
	r.add("configuration", found)
	if err != nil {
		return
	}
	scopes := p.scopes()
	if scopes[live] {
		p.systemd, err = askSystemd()
		if err != nil {
			r.add("service", []finding{failed("%v", err)})
			scopes[live] = false
		}
	}
	for _, check := range checks() {
		if scopes[check.scope] {
			r.add(check.name, check.look(p))
		}
	}
}

func (p *patient) scopes() map[scope]bool {
	_, err := os.Stat("/run/systemd/system")
	units, host := p.unitDir != "", !p.configOnly
	return map[scope]bool{
		always: true, installed: units, onHost: host, calling: host && !p.offline,
		live: host && p.unitDir == systemUnits && err == nil,
	}
}
