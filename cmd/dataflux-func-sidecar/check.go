package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/check"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/supervisor"
)

const checkUsage = `check [OPTIONS]

Examines everything that the service needs, and reports what is wrong and how to correct it. It
changes nothing and shows no key. It ends with a call that runs "id -un" and leaves no job.

Exit status: 0 without failures, also with warnings; 1 otherwise. With --monitoring: 0 if all is
well, 1 with warnings, 2 with failures, 3 if it could not examine anything.`

// Exit statuses with --monitoring, those of Nagios, Icinga and others.
const (
	monitoringOK = iota
	monitoringWarning
	monitoringCritical
	monitoringUnknown
)

// checkOptions are what the command line asks for.
type checkOptions struct {
	check.Options
	json, monitoring bool
}

func parseCheck(args []string, t terminal) (o checkOptions, err error) {
	o.Version, o.Welcome = version, welcome()
	flags := t.newFlags("check", checkUsage)
	flags.StringVar(&o.Config, "config", defaultConfig, "configuration `FILE`")
	flags.BoolVar(&o.ConfigOnly, "config-only", false,
		"examine the file alone, and no unit, installation or service of this host")
	flags.BoolVar(&o.json, "json", false, "print one JSON document")
	flags.BoolVar(&o.monitoring, "monitoring", false,
		"print and exit as a plugin of a monitoring system: the summary, and what is wrong")
	flags.BoolVar(&o.Offline, "offline", false,
		"make no call: whether the service answers is not examined")
	flags.StringVar(&o.StateDir, "state-dir", stateDirectory(),
		"the `DIRECTORY` for what must survive a restart")
	flags.StringVar(&o.UnitDir, "unit-dir", defaultUnitDir,
		"`DIRECTORY` of the systemd units; empty: there are none, for a start by hand")
	flags.StringVar(&o.User, "user", defaultUser, "`NAME` of the user that runs commands")
	flags.StringVar(&o.RoleUser, "role-user", supervisor.DefaultRoleUser,
		"`NAME` of the user that runs the daemon itself")
	err = t.parseOptions(flags, args)
	if o.Config != defaultConfig && !given(flags, "unit-dir") {
		o.UnitDir = "" // the installed service has another configuration
	}
	return o, err
}

// runCheck changes nothing and never prints a key.
func runCheck(args []string, t terminal) int {
	o, err := parseCheck(args, t)
	if err != nil {
		status := statusUsage
		if slices.Contains(args, "--monitoring") {
			status = monitoringUnknown
		}
		return t.misused("check", err, status)
	}
	if err := unix.Access(o.Config, unix.R_OK); o.monitoring && errors.Is(err, os.ErrPermission) {
		fmt.Fprintf(t.stdout, "SIDECAR UNKNOWN: cannot read %s: %v; hint: run this as root\n",
			escape.Line(o.Config, 0), err)
		return monitoringUnknown
	}
	r := &report{terminal: t, checkOptions: o}
	check.Run(o.Options, r.add)
	return r.finish()
}

// levelColors are those of findings on a terminal, as in labelColors.
var levelColors = map[check.Level]string{
	check.OK:      "32",
	check.Warning: labelColors[labelWarning],
	check.Failure: labelColors[labelError],
}

// report prints findings as they come for people, and all at the end for programs.
type report struct {
	terminal
	checkOptions
	findings []check.Finding
}

func (r *report) add(f check.Finding) {
	r.findings = append(r.findings, f)
	if !r.json && !r.monitoring {
		r.print(f)
	}
}

func (r *report) print(f check.Finding) {
	level, message, _ := strings.Cut(escape.Lines(f.String()), ":")
	level = colored(r.stdout.to, level+":", levelColors[f.Level])
	fmt.Fprintln(r.stdout, level+message)
}

func (r *report) finish() int {
	counts := map[check.Level]int{}
	for _, f := range r.findings {
		counts[f.Level]++
	}
	failures := counts[check.Failure]
	switch {
	case r.json:
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false) // commands have && in them
		_ = encoder.Encode(struct {
			OK       bool            `json:"ok"`
			Findings []check.Finding `json:"findings"`
		}{failures == 0, r.findings})
		_, _ = r.stdout.Write(escape.JSON(text.Bytes()))
	case r.monitoring:
		r.printForMonitoring(counts)
	default:
		fmt.Fprintln(r.stdout, escape.Lines("summary: "+r.summary(counts)))
	}
	if r.monitoring {
		return monitoringStatus(counts)
	}
	return min(failures, 1)
}

func monitoringStatus(counts map[check.Level]int) int {
	switch {
	case counts[check.Failure] > 0:
		return monitoringCritical
	case counts[check.Warning] > 0:
		return monitoringWarning
	}
	return monitoringOK
}

// printForMonitoring prints the summary first: most systems show the first line only. What follows
// a | would be measurements.
func (r *report) printForMonitoring(counts map[check.Level]int) {
	name := [...]string{"OK", "WARNING", "CRITICAL"}[monitoringStatus(counts)]
	text := strings.ReplaceAll(r.summary(counts), "|", "¦")
	fmt.Fprintln(r.stdout, escape.Lines("SIDECAR "+name+": "+text))
	for _, f := range r.findings {
		if f.Level != check.OK {
			f.Message = strings.ReplaceAll(f.Message, "|", "¦")
			f.Command = strings.ReplaceAll(f.Command, "|", "¦")
			r.print(f)
		}
	}
}

// summary counts the findings and repeats the first of the worst: causes come before their
// consequences.
func (r *report) summary(counts map[check.Level]int) string {
	worst := check.OK
	var parts []string
	for _, level := range []check.Level{check.Failure, check.Warning} {
		if n := counts[level]; n > 0 {
			if worst == check.OK {
				worst = level
			}
			parts = append(parts, plural(n, string(level)))
		}
	}
	if worst == check.OK {
		return fmt.Sprintf("all %d ok", counts[check.OK])
	}
	text := fmt.Sprintf("%s, %d ok", strings.Join(parts, ", "), counts[check.OK])
	if counts[check.Failure]+counts[check.Warning] == 1 {
		return text
	}
	first := slices.IndexFunc(r.findings, func(f check.Finding) bool { return f.Level == worst })
	return text + "; begin with: " + r.findings[first].Message
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
