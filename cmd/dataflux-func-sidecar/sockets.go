package main

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/check"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

const socketsUsage = `sockets

For the service, before each start: if the socket unit has other addresses than BIND, it writes
those of BIND and makes systemd read them. That closes the addresses that BIND no longer names; the
daemon opens those that are new. A long DRAIN_TIMEOUT gets its time too.`

// daemonReloadTime bounds how long systemd may need to read its units.
const daemonReloadTime = 20 * time.Second

// runSockets succeeds where nothing can be done: the daemon reports an invalid configuration, and
// serves on what it gets.
func runSockets(args []string, t terminal) int {
	if err := t.parseOptions(t.newFlags("sockets", socketsUsage), args); err != nil {
		return t.misused("sockets", err, statusUsage)
	}
	settings, err := config.Load(defaultConfig)
	if err != nil {
		return 0
	}
	shown, err := units.Show([]string{"Listen", "NeedDaemonReload", "LoadState"}, units.Socket)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	unit := shown[units.Socket]
	c := configurer{
		configureOptions: configureOptions{unitDir: defaultUnitDir}, out: t.stderr,
		result: settings,
	}
	if err := c.followConfig(unit); err != nil {
		t.sayErrors(err)
		return statusError
	}
	return 0
}

// followConfig makes systemd read drop-ins that it does not have yet. unit is the socket unit.
func (c *configurer) followConfig(unit units.Properties) error {
	changed, err := c.placeStopTimeout()
	unread, bind := unit["NeedDaemonReload"] == "yes", c.result.Bind
	if unread || !check.Agree(unit.Listen(), bind) {
		written, failed := c.place(config.SocketDropIn(c.unitDir), config.SocketDropInText(bind))
		err = errors.Join(err, failed)
		changed = changed || written || unread // else another drop-in names the other addresses
	}
	if !changed {
		return err
	}
	err = errors.Join(err, units.Control(daemonReloadTime, "daemon-reload"))
	removeStale(parseAddresses(unit.Listen()), bind)
	return err
}

// removeStale removes the files of Unix sockets that were listened on before and are not in bind
// now, as RemoveOnStop= of the socket unit does for sockets that it has open.
func removeStale(before, bind []config.Address) {
	for _, address := range before {
		if address.Network != "unix" || slices.Contains(bind, address) {
			continue
		}
		path := address.Path
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			continue
		}
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		if errors.Is(err, unix.ECONNREFUSED) { // no process listens
			_ = os.Remove(path)
		}
	}
}

// parseAddresses returns those addresses of a socket unit that BIND could name.
func parseAddresses(texts []string) (addresses []config.Address) {
	for _, text := range texts {
		if parsed, err := config.ParseBind(text); err == nil {
			addresses = append(addresses, parsed...)
		}
	}
	return addresses
}
