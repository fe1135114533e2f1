package doctor

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/units"
)

const why = "it says why: journalctl -u dataflux-func-sidecar -n 20"

// checkUnitFiles finds units of another version, or that somebody has changed.
func checkUnitFiles(p *patient) (found []Finding) {
	for _, name := range units.Names() {
		unit := p.systemd[name]
		path := unit["FragmentPath"]
		text, err := os.ReadFile(path)
		switch {
		case unit["LoadState"] == "masked" && name == units.Metrics:
			found = append(found, well("%s is masked, so there are no metrics", name))
		case unit["LoadState"] == "masked":
			found = append(found, failed("%s is masked", name).mendedBy("systemctl unmask "+name+" && systemctl start dataflux-func-sidecar"))
		case path == "" || err != nil:
			found = append(found, failed("there is no %s: run install.sh of version %s, or install its package again", name, p.Version))
		case !units.Same(name, text):
			found = append(found, unwise("%s is not the one of version %s: run install.sh of that version, or install its package again; "+
				"for changes of your own use systemctl edit %s", path, p.Version, name))
		default:
			found = append(found, well("%s is the one of version %s", path, p.Version))
		}
		if unit["NeedDaemonReload"] == "yes" {
			found = append(found, unwise("%s has changed since systemd has read it", name).mendedBy(reread(name)))
		}
	}
	return found
}

// reread has systemd read a unit again. A restart alone finds no sockets where their addresses have changed.
func reread(unit string) string {
	if unit == units.Socket {
		return config.ApplyBind
	}
	return "systemctl daemon-reload && " + units.Restart
}

// checkService finds what does not run, or will not after the next boot.
func checkService(p *patient) (found []Finding) {
	for _, name := range []string{units.Service, units.Socket} {
		found = append(found, p.checkActive(name), p.checkEnabled(name))
	}
	if p.systemd[units.Socket]["ActiveState"] == "active" && p.systemd[units.Ports]["ActiveState"] != "active" {
		found = append(found, unwise("%s does not run, so a stop of the service would leave the ports open", units.Ports).mendedBy("systemctl start "+units.Ports))
	}
	return found
}

func (p *patient) checkActive(name string) Finding {
	unit := p.systemd[name]
	if unit["ActiveState"] == "active" {
		return well("%s is active", name)
	}
	state := unit["ActiveState"] + " (" + unit["SubState"]
	if result := unit["Result"]; result != "" && result != "success" {
		state += ", " + result
	}
	return failed("%s is %s); %s", name, state, why).mendedBy("systemctl start dataflux-func-sidecar")
}

func (p *patient) checkEnabled(name string) Finding {
	switch state := p.systemd[name]["UnitFileState"]; state {
	case "enabled", "enabled-runtime", "static", "linked":
		return well("%s is %s", name, state)
	default:
		return unwise("%s is %s, so it does not start at boot", name, state).mendedBy("systemctl enable dataflux-func-sidecar")
	}
}

// checkFreshness finds a configuration that the daemon has not read yet: it reads once, at its start.
func checkFreshness(p *patient) []Finding {
	started := p.startedAt()
	info, err := os.Stat(p.Config)
	if err != nil || started.IsZero() {
		return nil
	}
	if changed := info.ModTime(); changed.After(started) {
		return []Finding{unwise("%s has changed since the service has started (%s later)", p.Config, changed.Sub(started).Round(time.Second)).
			mendedBy(units.Restart)}
	}
	return []Finding{well("the service has started with the configuration as it is")}
}

// startedAt is when the main process started, by the clock as it is now; zero if it does not run.
func (p *patient) startedAt() time.Time {
	unit := p.systemd[units.Service]
	start, err := strconv.ParseInt(strings.TrimSpace(unit["ExecMainStartTimestampMonotonic"]), 10, 64)
	var now unix.Timespec
	if err != nil || start == 0 || unit["ActiveState"] != "active" || unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(start)*time.Microsecond - time.Duration(now.Nano()))
}
