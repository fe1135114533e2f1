package check

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/units"
)

// seeJournal completes a message about a service that does not work.
const seeJournal = "for the reason see journalctl -u dataflux-func-sidecar -n 20"

// notServing begins the entry of a daemon that refuses to start.
const notServing = "Not serving: "

// askedProperties are the properties that the checks of this file use.
func askedProperties() []string {
	asked := []string{
		"LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "FragmentPath",
		"DropInPaths", "NeedDaemonReload", "ExecMainStartTimestampMonotonic", "ExecStart", "Listen",
		"TimeoutStopUSec", "TasksMax", "LogRateLimitBurst", "MainPID",
		"StatusText", "NoNewPrivileges", "ControlGroup",
	}
	for _, needed := range neededProperties() {
		asked = append(asked, needed.property)
	}
	for _, one := range confinements() {
		asked = append(asked, one.property)
	}
	return asked
}

// neededProperty is a property of a unit that the program relies on.
type neededProperty struct{ unit, property, value, loss string }

func neededProperties() []neededProperty {
	return []neededProperty{
		{units.Service, "Type", "notify", "a start does not wait until the service is ready"},
		{units.Service, "NotifyAccess", "main", "commands can pretend that the service is ready"},
		{units.Service, "KillMode", "mixed", "a stop ends commands at once"},
		{units.Service, "Delegate", "yes", "commands get no cgroups of their own"},
		{units.Service, "Restart", "always", "systemd does not start the daemon after a crash"},
		{units.Service, "OOMPolicy", "continue", "one command out of memory ends the service"},
		{units.Service, "StateDirectoryMode", "0700", "other users can list the state directory"},
		{units.Service, "KeyringMode", "private", "commands share a kernel keyring with others"},
		{units.Socket, "FreeBind", "yes", "an address that is not there yet fails the unit"},
		{units.Socket, "BindIPv6Only", "ipv6-only", "[::] takes connections of IPv4 as well"},
	}
}

// checkPorts finds addresses of BIND that another process has. Only root can tell.
func checkPorts(c *checker) []Finding {
	if os.Geteuid() != 0 {
		return nil
	}
	var listen []string // what systemd holds for the service
	if c.units[units.Socket]["ActiveState"] == "active" {
		listen = c.units[units.Socket].Listen()
	}
	if err := host.CheckFree(c.settings.Bind, listen); err != nil {
		return failures(err)
	}
	return []Finding{ok("no other process has an address of BIND")}
}

// checkAgreement compares the sockets and the stop timeout of systemd with the configuration.
func checkAgreement(c *checker) (found []Finding) {
	switch agrees, err := c.socketsAgree(); {
	case errors.Is(err, os.ErrNotExist):
		return []Finding{warning("no %s in %s: run install.sh, unless you start the program "+
			"yourself with --bind", units.Socket, c.UnitDir)}
	case err != nil:
		found = append(found, warning("cannot compare the socket unit with BIND: %v", err))
	case agrees && c.servesOthers():
		found = append(found,
			failure("the service listens on other addresses than BIND says").fix(c.apply()))
	case agrees:
		found = append(found, ok("the socket unit listens on what BIND says"))
	default:
		found = append(found,
			failure("the socket unit listens on other addresses than BIND says").fix(c.apply()))
	}
	limit := units.StopTimeout
	if c.units != nil {
		limit = c.units[units.Service].StopTimeout()
	}
	if needed := c.settings.StopTime(); limit > 0 && needed >= limit {
		f := warning("DRAIN_TIMEOUT and twice KILL_GRACE are %s, but systemd kills the service %s "+
			"after a stop", needed, limit).fix(c.apply())
		if needed < units.StopTimeout {
			f.Message += ": remove TimeoutStopSec= from the drop-in (systemctl cat " +
				units.Service + ")"
			f.Command = ""
		}
		found = append(found, f)
	}
	return found
}

// socketsAgree compares BIND with the addresses that systemd has, or without systemd with the
// drop-in of configure. The error is os.ErrNotExist if there is no socket unit.
func (c *checker) socketsAgree() (bool, error) {
	switch unit := c.units[units.Socket]; {
	case unit["FragmentPath"] != "":
		return Agree(unit.Listen(), c.settings.Bind), nil
	case c.units != nil:
		return false, os.ErrNotExist
	}
	folders := []string{c.UnitDir}
	if c.UnitDir == SystemUnits {
		folders = append(folders, "/usr/lib/systemd/system", "/lib/systemd/system") // of a package
	}
	hasUnit := func(folder string) bool { return exists(filepath.Join(folder, units.Socket)) }
	if !slices.ContainsFunc(folders, hasUnit) {
		return false, os.ErrNotExist
	}
	text, err := os.ReadFile(config.SocketDropIn(c.UnitDir))
	if errors.Is(err, os.ErrNotExist) {
		return slices.Equal(c.settings.Bind, config.Default().Bind), nil // those of the unit itself
	}
	return bytes.Equal(text, config.SocketDropInText(c.settings.Bind)), err
}

// servesOthers reports that the running service has other addresses than BIND, because it has not
// been restarted after a change. Only root can tell.
func (c *checker) servesOthers() bool {
	metrics := slices.Clone(c.settings.MetricsBind)
	for _, text := range c.units[units.Metrics].Listen() {
		if addresses, err := config.ParseBind(text); err == nil {
			metrics = append(metrics, addresses...)
		}
	}
	served, err := Served(c.units[units.Service], metrics)
	return err == nil && !Agree(config.Texts(served), c.settings.Bind)
}

// Served returns the addresses on which the running service listens, sorted, without those of
// metrics. service has the property MainPID. It needs root.
func Served(
	service units.Properties, metrics []config.Address,
) (addresses []config.Address, err error) {
	pid, err := strconv.Atoi(service["MainPID"])
	if err != nil || pid == 0 {
		return nil, fmt.Errorf("%s has no main process", units.Service)
	}
	all, err := host.Listeners(pid)
	if err != nil {
		return nil, err
	}
	for _, address := range all {
		// The control socket for reloads is bound by a path below /proc/self/fd.
		own := address.Network == "unix" && (!strings.HasPrefix(address.Path, "/") ||
			strings.HasPrefix(address.Path, "/proc/"))
		if !own && !slices.Contains(metrics, address) {
			addresses = append(addresses, address)
		}
	}
	slices.SortFunc(addresses, func(x, y config.Address) int {
		return strings.Compare(x.String(), y.String())
	})
	return addresses, nil
}

// Agree reports whether the addresses of a socket unit are those of bind, in any order.
func Agree(listen []string, bind []config.Address) bool {
	return slices.Equal(canonical(listen), canonical(config.Texts(bind)))
}

// canonical returns addresses in the form of BIND, sorted. Others are kept as text.
func canonical(addresses []string) (texts []string) {
	for _, text := range addresses {
		if parsed, err := config.ParseBind(text); err == nil {
			text = config.JoinBind(parsed)
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return texts
}

// checkUnits finds units that are missing, masked, changed since systemd read them, or without a
// property that the program relies on.
func checkUnits(c *checker) (found []Finding) {
	for _, name := range units.Names() {
		unit := c.units[name]
		path := unit["FragmentPath"]
		switch {
		case unit["LoadState"] == "masked" && name == units.Metrics:
			found = append(found, ok("%s is masked, so there are no metrics", name))
		case unit["LoadState"] == "masked":
			found = append(found, failure("%s is masked", name).
				fix("systemctl unmask "+name+" && systemctl start dataflux-func-sidecar"))
		case path == "" || !exists(path):
			found = append(found, failure("there is no %s: %s", name, c.reinstall()))
		case unit["DropInPaths"] != "":
			found = append(found, ok("%s is loaded, with the drop-ins %s", path,
				unit["DropInPaths"]))
		default:
			found = append(found, ok("%s is loaded", path))
		}
		if unit["NeedDaemonReload"] == "yes" {
			reload := "systemctl daemon-reload && " + units.Restart
			if name == units.Socket {
				reload = c.apply()
			}
			found = append(found,
				warning("%s has changed since systemd has read it", name).fix(reload))
		}
	}
	for _, needed := range neededProperties() {
		unit := c.units[needed.unit]
		got := unit[needed.property] // empty: this systemd does not know it
		if unit["LoadState"] == "loaded" && got != "" && got != needed.value {
			found = append(found, warning("%s has %s=%s instead of %s, so %s: %s, and remove it "+
				"from drop-ins (systemctl cat %s)",
				needed.unit, needed.property, got, needed.value, needed.loss,
				c.reinstall(), needed.unit))
		}
	}
	return found
}

// apply is the command that makes systemd and the service follow the configuration.
func (c *checker) apply() string {
	if c.Config == config.DefaultPath && c.UnitDir == SystemUnits {
		return config.Apply
	}
	return "dataflux-func-sidecar configure --config " + config.ShellQuote(c.Config) +
		" --unit-dir " + config.ShellQuote(c.UnitDir)
}

func (c *checker) reinstall() string {
	return "run install.sh of version " + c.Version + ", or install its package again"
}

// checkService finds units that do not run, or will not run after the next boot.
func checkService(c *checker) (found []Finding) {
	for _, name := range []string{units.Service, units.Socket} {
		unit := c.units[name]
		if unit["ActiveState"] == "active" {
			found = append(found, ok("%s is active", name))
		} else {
			state := unit["ActiveState"] + " (" + unit["SubState"]
			if result := unit["Result"]; result != "" && result != "success" {
				state += ", " + result
			}
			found = append(found, c.notActive(name, failure("%s is %s)", name, state)))
		}
		switch state := unit["UnitFileState"]; state {
		case "enabled", "enabled-runtime", "static", "linked":
			found = append(found, ok("%s is %s", name, state))
		default:
			found = append(found, warning("%s is %s, so it does not start at boot", name, state).
				fix("systemctl enable dataflux-func-sidecar"))
		}
	}
	if c.units[units.Socket]["ActiveState"] == "active" &&
		c.units[units.Ports]["ActiveState"] != "active" {
		found = append(found, warning("%s does not run, so a stop of the service would leave the "+
			"ports open", units.Ports).fix("systemctl start "+units.Ports))
	}
	return found
}

// notActive completes a finding about a unit that does not run by the reason, or says where it is.
func (c *checker) notActive(name string, f Finding) Finding {
	if name == units.Socket {
		f.Message += "; for the reason see journalctl -u " + units.Socket + " -n 20"
		return f.fix("systemctl start dataflux-func-sidecar")
	}
	// The daemon says it while it waits, and has logged it when it failed first.
	reason, refused := strings.CutPrefix(c.units[name]["StatusText"], notServing)
	if !refused {
		last := units.LastEntry(RoleID(c.RoleUser, c.User), notServing, "Ready: ", "Stopped: ")
		reason, refused = strings.CutPrefix(last, notServing)
	}
	if refused {
		f.Message += "; its last start was refused: " + reason
		return f // the next start would be, too
	}
	f.Message += "; " + seeJournal
	return f.fix("systemctl start dataflux-func-sidecar")
}

const (
	daemonTasks     = 64        // threads of the two roles, with room
	minJournalBurst = 1_000_000 // entries: more than a command can send in the interval of the unit
)

// checkBounds finds bounds that daemon and commands share. Only a drop-in sets any.
func checkBounds(c *checker) (found []Finding) {
	unit := c.units[units.Service]
	needed := 2*c.settings.MaxRunning + daemonTasks // each command is a shell and what it starts
	if tasks, err := strconv.Atoi(unit["TasksMax"]); err == nil && tasks < needed {
		found = append(found, warning("TasksMax of the service is %d, and MAX_RUNNING = %d "+
			"commands with what they start and the daemon need %d or more: remove it from the "+
			"drop-in (systemctl cat %s), or lower MAX_RUNNING",
			tasks, c.settings.MaxRunning, needed, units.Service))
	}
	if burst, err := strconv.Atoi(unit["LogRateLimitBurst"]); err == nil &&
		burst < minJournalBurst {
		found = append(found, warning("the journal takes %d entries of the service within "+
			"LogRateLimitIntervalSec (0: as journald.conf says), so a command that writes more "+
			"suppresses those about other commands: remove LogRateLimitBurst from the drop-in "+
			"(systemctl cat %s)", burst, units.Service))
	}
	if len(found) == 0 {
		found = append(found, ok("no TasksMax= and no journal rate limit bounds daemon and "+
			"commands together"))
	}
	return found
}

// checkMetrics finds metrics that are half switched on or off. If they are off there is no finding.
func checkMetrics(c *checker) []Finding {
	for _, address := range c.settings.MetricsBind {
		if c.units[units.Service]["ActiveState"] == "active" && !host.ServiceHas(address) {
			return []Finding{warning("METRICS_BIND has %s, and no metrics are served there. If a "+
				"restart does not help, see journalctl -u %s -p warning -n 5", address,
				units.Service).fix(units.Restart)}
		}
	}
	unit := c.units[units.Metrics]
	enabled := slices.Contains([]string{"enabled", "enabled-runtime"}, unit["UnitFileState"])
	switch active := unit["ActiveState"] == "active"; {
	case enabled && !active:
		return []Finding{warning("%s is enabled and %s: the service has started without it, so "+
			"there are no metrics. If a restart does not help, see journalctl -u %s -n 5",
			units.Metrics, unit["ActiveState"], units.Metrics).fix(units.Restart)}
	case active && !enabled:
		return []Finding{warning("%s is active and not enabled, so there are no metrics from the "+
			"next boot on", units.Metrics).
			fix("systemctl enable " + units.Metrics)}
	case active:
		return []Finding{ok("%s is active and enabled", units.Metrics)}
	}
	for _, text := range unit.Listen() {
		addresses, err := config.ParseBind(text)
		if err == nil && host.ServiceHas(addresses[0]) &&
			!slices.Contains(c.settings.MetricsBind, addresses[0]) {
			return []Finding{warning("%s is off, but the service keeps the socket that it was "+
				"given", units.Metrics).fix(units.Restart)}
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
