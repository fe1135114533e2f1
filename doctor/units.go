package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/units"
)

// checkAgreement compares what systemd is told with what the configuration says.
func checkAgreement(p *patient) []Finding {
	unit := p.unitFile(units.Socket)
	if unit == "" {
		return []Finding{unwise("no %s in %s: run install.sh, unless you start the program yourself with --bind", units.Socket, p.UnitDir)}
	}
	found := []Finding{well("the socket unit listens on what BIND says")}
	streams := config.ListenStreams(units.WithDropIns(unit, p.UnitDir))
	slices.Sort(streams)
	if !slices.Equal(streams, sortedTexts(p.settings.Bind)) {
		found = []Finding{failed("the socket unit listens on other addresses than BIND says").mendedBy(p.reconfigure())}
	}
	return slices.Concat(found, p.checkSudo(), p.checkStop())
}

// unitFile is where a unit lies: in the directory of units, or where a package puts it. Empty if nowhere.
func (p *patient) unitFile(name string) string {
	folders := []string{p.UnitDir}
	if p.UnitDir == SystemUnits {
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
	return "dataflux-func-sidecar configure --config " + config.ShellQuote(p.Config) +
		" --unit-dir " + config.ShellQuote(p.UnitDir) + " && " + config.ApplyBind
}

func sortedTexts(addresses []config.Address) []string {
	texts := strings.Split(config.JoinBind(addresses), ",")
	slices.Sort(texts)
	return texts
}

func (p *patient) checkSudo() []Finding {
	dropIn := config.SudoDropIn(p.UnitDir)
	text, err := os.ReadFile(dropIn)
	switch present := err == nil; {
	case present != p.settings.AllowSudo:
		return []Finding{failed("%s does not agree with ALLOW_SUDO = %t", dropIn, p.settings.AllowSudo).mendedBy(p.reconfigure())}
	case present && !bytes.Equal(text, config.SudoDropInText()):
		return []Finding{failed("%s is not what this version writes", dropIn).mendedBy(p.reconfigure())}
	case present:
		return []Finding{unwise("ALLOW_SUDO = true: commands may become root as far as sudoers lets them")}
	}
	return nil
}

// checkStop finds a drain that systemd would cut short.
func (p *patient) checkStop() []Finding {
	var limit time.Duration // none, too, where the last word is not understood
	text := units.WithDropIns(p.unitFile(units.Service), p.UnitDir)
	text = bytes.ReplaceAll(text, []byte("\nTimeoutSec="), []byte("\nTimeoutStopSec=")) // sets it too
	for _, value := range units.SettingsOf(text, "TimeoutStopSec") {
		limit = timeSpan(value)
	}
	if needed := p.settings.DrainTimeout + p.settings.KillGrace; limit > 0 && needed >= limit {
		return []Finding{unwise("DRAIN_TIMEOUT and KILL_GRACE together are %s, but systemd kills the service %s after a stop: "+
			"raise TimeoutStopSec with systemctl edit dataflux-func-sidecar.service", needed, limit)}
	}
	return nil
}
