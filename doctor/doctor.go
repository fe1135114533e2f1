// Package doctor looks at everything that the service needs on this host, and says of each thing whether
// it is well, and what mends it.
//
// It must never change anything, and never show a key. It starts no process but systemctl, to ask, and has
// the service itself run one command that changes nothing.
package doctor

import (
	"os"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep"
)

// SystemUnits is where systemd looks for what the administrator of a host has written.
const SystemUnits = "/etc/systemd/system"

// Options say what is looked at, and what is expected.
type Options struct {
	Config     string // the configuration file
	UnitDir    string // the directory of the systemd units; empty: do not look, for a start by hand
	StateDir   string // the directory for what must survive a restart
	User       string // whom commands run as
	ConfigOnly bool   // look at what the configuration says, and not at this host
	Offline    bool   // call nothing

	Version string // of this program
	Welcome string // what a service of this version answers to GET /
}

// patient is what the checks look at.
type patient struct {
	Options
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
	look  func(*patient) []Finding
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

// Examine makes every check that makes sense, and tells what it finds as it finds it. Without a
// configuration there is nothing to compare with.
func Examine(o Options, tell func(Finding)) {
	p := &patient{Options: o}
	add := func(check string, found []Finding) {
		for _, f := range found {
			f.Check = check
			tell(f)
		}
	}
	found, err := p.load()
	add("configuration", found)
	if err != nil {
		return
	}
	scopes := p.scopes()
	if scopes[live] {
		p.systemd, err = askSystemd()
		if err != nil {
			add("service", []Finding{failed("%v", err)})
			scopes[live] = false
		}
	}
	for _, check := range checks() {
		if scopes[check.scope] {
			add(check.name, check.look(p))
		}
	}
}

func (p *patient) scopes() map[scope]bool {
	_, err := os.Stat("/run/systemd/system")
	here := !p.ConfigOnly
	return map[scope]bool{
		always: true, installed: p.UnitDir != "", onHost: here, calling: here && !p.Offline,
		live: here && p.UnitDir == SystemUnits && err == nil,
	}
}
