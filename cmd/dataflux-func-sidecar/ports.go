package main

import (
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/units"
)

const portsUsage = `ports [OPTIONS]

For install.sh, before it changes anything: fails if something else has an address of the BIND that
will be in force, and says what.`

// runPorts changes nothing.
func runPorts(args []string, t terminal) int {
	flags := t.newFlags("ports", portsUsage)
	path := flags.String("config", defaultConfig, "configuration `FILE`, which need not exist yet")
	bind := flags.String("bind", "", "`ADDRESSES` that will replace those of the configuration")
	active := flags.Bool("socket-active", false,
		"the socket unit is active: what systemd holds of its addresses is ours")
	if err := t.parseOptions(flags, args); err != nil {
		return t.misused("ports", err, statusUsage)
	}
	addresses, err := futureBind(*path, *bind, given(flags, "bind"))
	var shown map[string]units.Properties
	if err == nil && *active {
		shown, err = units.Show([]string{"Listen"}, units.Socket)
	}
	if err == nil {
		err = host.CheckFree(addresses, shown[units.Socket].Listen())
	}
	if err != nil {
		t.sayErrors(err)
		return statusError
	}
	return 0
}
