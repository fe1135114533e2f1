package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
	"dataflux-func-sidecar/units"
)

// portsCommand is for install.sh, which asks before it touches anything.
const portsCommand = "ports"

// runPorts tells of each address of the BIND that will be in force whether something else has it, and
// who. It changes nothing.
func runPorts(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(portsCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", defaultConfig, "configuration `file`, which need not exist yet")
	unitDir := flags.String("unit-dir", "/etc/systemd/system", "`directory` of the systemd units")
	bind := flags.String("bind", "", "`addresses` that will replace those of the configuration")
	active := flags.Bool("socket-active", false, "the socket unit is active: what systemd holds of its addresses is ours")
	if err := flags.Parse(args); err != nil {
		return refuseUsage(err, 2)
	}
	addresses, err := bindToBe(*path, *bind, given(flags, "bind"))
	if err == nil {
		var held []string
		if *active {
			held = config.ListenStreams(units.WithDropIns(filepath.Join(*unitDir, units.Socket)))
		}
		err = host.RefuseTaken(addresses, held)
	}
	if err != nil {
		sayFailures(stderr, err)
		return 1
	}
	return 0
}

func given(flags *flag.FlagSet, name string) (found bool) {
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// bindToBe is what configure would leave in the configuration.
func bindToBe(path, bind string, bindGiven bool) ([]config.Address, error) {
	if bindGiven {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			return nil, fmt.Errorf("--bind: %w", err)
		}
		return addresses, nil
	}
	data, _, err := config.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return firstBind(), nil
	}
	if err != nil {
		return nil, err
	}
	c := configuring{path: path, say: io.Discard}
	if data, err = c.adopt(data); err == nil {
		_, err = c.amend(data)
	}
	if err != nil {
		return nil, err
	}
	return c.result.Bind, nil
}
