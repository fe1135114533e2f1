package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"dataflux-func-sidecar/internal/config"
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

// futureBind is the BIND that configure would write.
func futureBind(path, bind string, bindGiven bool) ([]config.Address, error) {
	if bindGiven {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			return nil, fmt.Errorf("--bind: %w", err)
		}
		return addresses, nil
	}
	data, _, err := config.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return firstBind()
	}
	if err != nil {
		return nil, err
	}
	c := configurer{configureOptions: configureOptions{path: path}, out: io.Discard}
	if data, err = c.convertOriginal(data); err == nil {
		_, err = c.amend(data)
	}
	if err != nil {
		return nil, err
	}
	return c.result.Bind, nil
}
