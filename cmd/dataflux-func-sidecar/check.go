package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"dataflux-func-sidecar/doctor"
)

const checkUsage = `check [OPTIONS]

Looks at everything that the service needs, and says of each thing whether it is well, and what mends it.
It changes nothing and shows no key. It ends with one real call, which runs "id -un".

Exit status: 0 if nothing is wrong, though there may be warnings; 1 otherwise.`

func parseCheck(args []string, t terminal) (o doctor.Options, asJSON bool, err error) {
	o.Version, o.Welcome = version, banner()
	flags := t.newFlags("check", checkUsage)
	flags.StringVar(&o.Config, "config", defaultConfig, "configuration `FILE`")
	flags.BoolVar(&o.ConfigOnly, "config-only", false, "look at what the configuration says, and not at this host's installation and service")
	flags.BoolVar(&asJSON, "json", false, "print one JSON document")
	flags.BoolVar(&o.Offline, "offline", false, "call nothing: leave out whether the service answers")
	flags.StringVar(&o.StateDir, "state-dir", stateDirectory(), "the `DIRECTORY` for what must survive a restart")
	flags.StringVar(&o.UnitDir, "unit-dir", doctor.SystemUnits, "`DIRECTORY` of the systemd units; empty: do not look, for a start by hand")
	flags.StringVar(&o.User, "user", "dffs", "`NAME` of the user who runs commands")
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) > 0 {
		err = errors.New("check takes no arguments beside its options: give the file with --config")
		t.say("%v", err)
	}
	return o, asJSON, err
}

// runCheck changes nothing and never prints a key.
func runCheck(args []string, t terminal) int {
	o, asJSON, err := parseCheck(args, t)
	if err != nil {
		return refuseUsage(err, 2)
	}
	r := &report{terminal: t, json: asJSON}
	doctor.Examine(o, r.add)
	return r.finish()
}

// report tells people of findings as they are made, and programs of all at the end.
type report struct {
	terminal
	json     bool
	findings []doctor.Finding
}

func (r *report) add(f doctor.Finding) {
	r.findings = append(r.findings, f)
	if !r.json {
		fmt.Fprintln(r.stdout, f)
	}
}

func (r *report) finish() int {
	failures := 0
	for _, f := range r.findings {
		if f.Level == doctor.Failure {
			failures++
		}
	}
	if r.json {
		encoder := json.NewEncoder(r.stdout)
		encoder.SetEscapeHTML(false) // commands have && in them
		_ = encoder.Encode(struct {
			OK       bool             `json:"ok"`
			Findings []doctor.Finding `json:"findings"`
		}{failures == 0, r.findings})
	}
	return min(failures, 1)
}
