package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/config"
)

const (
	socketUnit  = "dataflux-func-sidecar.socket"
	serviceUnit = "dataflux-func-sidecar.service"
)

// checkAgreement compares what systemd is told with what the configuration says.
func checkAgreement(p *patient) []finding {
	unit := p.unitFile(socketUnit)
	if unit == "" {
		return []finding{unwise("no %s in %s: run install.sh, unless you start the program yourself with --bind", socketUnit, p.unitDir)}
	}
	found := []finding{well("the socket unit listens on what BIND says")}
	streams := config.ListenStreams(withDropIns(unit, p.unitDir))
	slices.Sort(streams)
	if !slices.Equal(streams, sortedTexts(p.settings.Bind)) {
		found = []finding{failed("the socket unit listens on other addresses than BIND says").mendedBy(p.reconfigure())}
	}
	return slices.Concat(found, p.checkSudo(), p.checkStop())
}

// unitFile is where a unit lies: in the directory of units, or where a package puts it. Empty if nowhere.
func (p *patient) unitFile(name string) string {
	folders := []string{p.unitDir}
	if p.unitDir == systemUnits {
		folders = append(folders, "/usr/lib/systemd/system", "/lib/systemd/system")
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			return filepath.Join(folder, name)
		}
	}
	return ""
}

// reconfigure is the command by which systemd is told of the configuration.
func (p *patient) reconfigure() string {
	return "dataflux-func-sidecar configure --config " + config.ShellQuote(p.config) +
		" --unit-dir " + config.ShellQuote(p.unitDir) + " && " + config.ApplyBind
}

func sortedTexts(addresses []config.Address) []string {
	texts := strings.Split(config.JoinBind(addresses), ",")
	slices.Sort(texts)
	return texts
}

func (p *patient) checkSudo() []finding {
	dropIn := config.SudoDropIn(p.unitDir)
	text, err := os.ReadFile(dropIn)
	switch present := err == nil; {
	case present != p.settings.AllowSudo:
		return []finding{failed("%s does not agree with ALLOW_SUDO = %t", dropIn, p.settings.AllowSudo).mendedBy(p.reconfigure())}
	case present && !bytes.Equal(text, config.SudoDropInText()):
		return []finding{failed("%s is not what this version writes", dropIn).mendedBy(p.reconfigure())}
	case present:
		return []finding{unwise("ALLOW_SUDO = true: commands may become root as far as sudoers lets them")}
	}
	return nil
}

// checkStop finds a drain that systemd would cut short.
func (p *patient) checkStop() []finding {
	var limit time.Duration
	text := withDropIns(p.unitFile(serviceUnit), p.unitDir)
	for _, value := range settingsOf(text, "TimeoutStopSec") {
		if d, err := time.ParseDuration(value); err == nil {
			limit = d
		}
	}
	if needed := p.settings.DrainTimeout + p.settings.KillGrace; limit > 0 && needed >= limit {
		return []finding{unwise("DRAIN_TIMEOUT and KILL_GRACE together are %s, but systemd kills the service %s after a stop: "+
			"raise TimeoutStopSec with systemctl edit dataflux-func-sidecar.service", needed, limit)}
	}
	return nil
}

// settingsOf are the values that a unit gives a setting, one after the other.
func settingsOf(unit []byte, name string) (values []string) {
	for line := range strings.Lines(string(unit)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+"="); found {
			values = append(values, value)
		}
	}
	return values
}

// withDropIns is the text of a unit and of its drop-ins, those beside it and those of other directories, in
// the order in which systemd reads them. What is missing is left out.
func withDropIns(unit string, others ...string) []byte {
	text, _ := os.ReadFile(unit)
	dropIns := map[string]string{} // by name: a later one hides another of the same name
	for _, dir := range append([]string{filepath.Dir(unit)}, others...) {
		folder := filepath.Join(dir, filepath.Base(unit)+".d")
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".conf") {
				dropIns[entry.Name()] = filepath.Join(folder, entry.Name())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		more, _ := os.ReadFile(dropIns[name])
		text = slices.Concat(text, []byte("\n"), more)
	}
	return text
}
