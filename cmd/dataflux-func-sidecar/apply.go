package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/check"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/internal/supervisor"
	"dataflux-func-sidecar/units"
)

// applier makes systemd and the service follow a configuration, and tells each step.
type applier struct {
	terminal
	config   string // path
	settings config.Config
	shown    map[string]units.Properties
}

// checkApply refuses what apply could not complete, before anything is written: an address that
// another process has, and units that are not there.
func checkApply(addresses []config.Address) error {
	shown, err := units.Show([]string{"LoadState", "ActiveState", "Listen"}, units.Names()...)
	if err != nil {
		return err
	}
	for _, name := range []string{units.Service, units.Socket} {
		if shown[name]["LoadState"] == "masked" {
			return fmt.Errorf("%s is masked; hint: run systemctl unmask %s", name, name)
		}
	}
	var ours []string
	if shown[units.Socket]["ActiveState"] == "active" {
		ours = shown[units.Socket].Listen()
	}
	return host.CheckFree(addresses, ours)
}

// apply does what the written configuration needs: nothing, a reload, or a restart.
func (a *applier) apply() error {
	if _, err := a.settings.LoadTLS(); a.settings.TLSCertificate != "" && err != nil {
		return fmt.Errorf("%w; the service was left as it is", err)
	}
	if err := a.settings.CheckSecretFiles(); err != nil {
		return fmt.Errorf("%w; the service was left as it is", err)
	}
	if err := a.ask(); err != nil {
		return err
	}
	if a.shown[units.Service]["LoadState"] == "not-found" { // systemd may not know it yet
		if err := a.readUnits(); err != nil {
			return err
		}
	}
	service := a.shown[units.Service]
	if service["LoadState"] != "loaded" {
		return fmt.Errorf("there is no %s: it is %s; hint: run install.sh, or install the package",
			units.Service, service["LoadState"])
	}
	if state := service["ActiveState"]; state != "active" && state != "reloading" {
		return a.start()
	}
	metrics := slices.Clone(a.settings.MetricsBind)
	if unit := a.shown[units.Metrics]; unit["ActiveState"] == "active" {
		metrics = append(metrics, parseAddresses(unit.Listen())...)
	}
	served, err := check.Served(service, metrics)
	if err != nil {
		return err
	}
	socket := a.shown[units.Socket]
	holdsBind := check.Agree(socket.Listen(), a.settings.Bind) && !a.unread(units.Socket)
	switch agrees := check.Agree(config.Texts(served), a.settings.Bind); {
	case agrees && !slices.ContainsFunc(a.settings.MetricsBind, a.canOpen):
		return a.reload()
	case agrees || holdsBind && containsAll(served, a.settings.Bind):
		return a.changeMetrics(served)
	}
	return a.rebind(served)
}

// ask asks systemd for the state of the units.
func (a *applier) ask() (err error) {
	a.shown, err = units.ShowSettled([]string{
		"LoadState", "ActiveState", "NeedDaemonReload", "Listen", "DropInPaths", "MainPID",
		"ExecMainStartTimestampMonotonic", "ExecStart",
	}, units.Names()...)
	if err != nil {
		return err
	}
	// systemd 252 does not notice the first drop-in of a unit.
	service, dropIn := a.shown[units.Service], config.StopDropIn(defaultUnitDir)
	_, missing := os.Stat(dropIn)
	if read := slices.Contains(strings.Fields(service["DropInPaths"]),
		dropIn); read != (missing == nil) {
		service["NeedDaemonReload"] = "yes"
	}
	return nil
}

func (a *applier) step(format string, args ...any) {
	fmt.Fprintln(a.stderr, escape.Lines(fmt.Sprintf(format, args...)))
}

// unread reports whether the files of a unit have changed since systemd has read them.
func (a *applier) unread(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return a.shown[name]["NeedDaemonReload"] == "yes"
	})
}

// readUnits makes systemd read its units again. It closes the sockets that a socket unit no longer
// names, and keeps the others with their backlog.
func (a *applier) readUnits() error {
	if !a.unread(units.Names()...) && a.shown[units.Service]["LoadState"] != "not-found" {
		return nil
	}
	a.step("systemd reads its units again")
	if err := units.Control(daemonReloadTime, "daemon-reload"); err != nil {
		return err
	}
	return a.ask()
}

// start starts a service that does not run, or that fails at each start.
func (a *applier) start() error {
	socket := a.shown[units.Socket]
	agrees := check.Agree(socket.Listen(), a.settings.Bind) && !a.unread(units.Socket)
	if socket["ActiveState"] == "active" && !agrees {
		a.step("closing the sockets of the former BIND")
		if err := units.Control(0, "stop", units.Service, units.Socket); err != nil {
			return err
		}
	}
	if err := a.readUnits(); err != nil {
		return err
	}
	a.step("starting the service")
	return a.serve("restart")
}

// outside refuses what would end this process before it is done.
func (a *applier) outside() error {
	if !host.InService(os.Getpid()) {
		return nil
	}
	return errors.New("this needs a restart of the service, which would end this command of it; " +
		"hint: systemd-run --pipe " + config.Apply)
}

// serve starts or restarts the service, and explains a failure by what the daemon said.
func (a *applier) serve(verb string) error {
	if err := units.Control(0, verb, units.Service); err != nil {
		role := check.RoleID(supervisor.DefaultRoleUser, defaultUser)
		said := units.LastEntry(role, "Not serving: ", "Ready: ")
		if reason, found := strings.CutPrefix(said, "Not serving: "); found {
			return fmt.Errorf("the service does not start: %s", reason)
		}
		return fmt.Errorf("%w; hint: see journalctl -u dataflux-func-sidecar -n 20", err)
	}
	a.step("the service listens on %s", config.JoinBind(a.settings.Bind))
	return nil
}

// reload makes a service that has the right sockets read what has changed.
func (a *applier) reload() error {
	unitsChanged := a.unread(units.Names()...)
	if err := a.readUnits(); err != nil {
		return err
	}
	changed := a.changedFiles()
	switch {
	case len(changed) > 0:
	case unitsChanged:
		a.step("the service runs with this configuration")
		return nil
	default:
		a.step("nothing to do: the service runs with this configuration")
		return nil
	}
	a.step("changed since the service has read it: %s", strings.Join(changed, ", "))
	quiet := a.terminal
	quiet.stdout = &output{to: a.stderr} // standard output is for the summary
	switch runReload(nil, quiet) {
	case 0:
		return nil
	case statusNoDaemon:
		return a.restart("the running release cannot reload")
	}
	return errors.New("the reload was refused, and the service goes on as before")
}

// changedFiles lists what is newer than the last look of the service: configuration, certificate
// and key, and secrets in files, by the time of the inode, and a program that is not the one that
// it executes.
func (a *applier) changedFiles() (changed []string) {
	service := a.shown[units.Service]
	if program := service.Program(); program != "" {
		executed, executedErr := os.Stat("/proc/" + service["MainPID"] + "/exe")
		installed, err := os.Stat(program)
		if executedErr != nil || err != nil || !os.SameFile(executed, installed) {
			changed = append(changed, program)
		}
	}
	read, known := check.LastRead(service, stateDirectory())
	for _, path := range append([]string{a.config}, a.settings.Files()...) {
		info, err := os.Stat(path)
		if err != nil || !known || changeTime(info).After(read) {
			changed = append(changed, path)
		}
	}
	return changed
}

func changeTime(info os.FileInfo) time.Time {
	return time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
}

func (a *applier) restart(why string) error {
	if err := a.outside(); err != nil {
		return err
	}
	a.step("%s: restarting the service; running commands have up to %s to finish, and callers "+
		"wait meanwhile", why, a.settings.DrainTimeout)
	return a.serve("restart")
}

func notOpen(address config.Address) bool { return !host.ServiceHas(address) }

// canOpen reports whether a restart may open an address of METRICS_BIND that is not open. It cannot
// if the service has tried with this configuration, and another process still has the address.
func (a *applier) canOpen(address config.Address) bool {
	if !notOpen(address) {
		return false
	}
	var listen []string // what systemd holds for the service
	if unit := a.shown[units.Metrics]; unit["ActiveState"] == "active" {
		listen = unit.Listen()
	}
	if slices.Contains(a.changedFiles(), a.config) ||
		host.CheckFree([]config.Address{address}, listen) == nil {
		return true
	}
	a.step("no metrics are served at %s, which another process has", address)
	return false
}

func containsAll(addresses, wanted []config.Address) bool {
	return !slices.ContainsFunc(wanted, func(address config.Address) bool {
		return !slices.Contains(addresses, address)
	})
}

// changeMetrics changes addresses that systemd does not hold, those of METRICS_BIND.
func (a *applier) changeMetrics(served []config.Address) error {
	if err := a.readUnits(); err != nil {
		return err
	}
	why := "METRICS_BIND is not open"
	if !slices.ContainsFunc(a.settings.MetricsBind, notOpen) {
		why = "the service listens on addresses that are no longer configured"
	}
	if err := a.restart(why); err != nil {
		return err
	}
	removeStale(served, a.settings.Bind)
	return nil
}

// rebind changes the addresses. Those that stay keep their sockets, with the connections that wait
// in them, unless another drop-in gives the sockets settings that only the socket unit can apply.
func (a *applier) rebind(served []config.Address) error {
	if err := a.outside(); err != nil {
		return err
	}
	stay := slices.DeleteFunc(slices.Clone(served), func(address config.Address) bool {
		return !slices.Contains(a.settings.Bind, address)
	})
	a.step("BIND was %s and is %s", config.JoinBind(served), config.JoinBind(a.settings.Bind))
	if len(stay) == 0 || a.otherDropIns() {
		a.step("stopping the service and closing all sockets; running commands have up to %s to "+
			"finish", a.settings.DrainTimeout)
		if err := units.Control(0, "stop", units.Service, units.Socket); err != nil {
			return err
		}
		if err := a.readUnits(); err != nil {
			return err
		}
		if err := a.serve("start"); err != nil {
			return err
		}
	} else {
		if err := a.readUnits(); err != nil {
			return err
		}
		if err := a.restart("systemd keeps " + config.JoinBind(stay) + " open"); err != nil {
			return err
		}
	}
	removeStale(served, a.settings.Bind)
	return nil
}

// otherDropIns reports whether the socket unit has a drop-in besides that of BIND.
func (a *applier) otherDropIns() bool {
	return slices.ContainsFunc(strings.Fields(a.shown[units.Socket]["DropInPaths"]),
		func(path string) bool {
			return filepath.Base(path) != filepath.Base(config.SocketDropIn(""))
		})
}
