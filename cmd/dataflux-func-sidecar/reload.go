package main

import (
	"errors"
	"fmt"

	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/supervisor"
)

// statusNoDaemon means that no daemon that can reload was reached: it does not run, or is of a
// release without reload.
const statusNoDaemon = 3

const reloadUsage = `reload [OPTIONS]

Makes the running daemon go on as this program, with the configuration and the TLS certificate as
they are now. Commands, callers and callbacks go on. Only BIND and METRICS_BIND cannot be reloaded.
If anything is wrong, the daemon goes on as before. systemctl reload does this.

Exit status: 0 if the daemon has reloaded; 1 if that was refused; 3 if there is no daemon that can
reload: it does not run, or is of a release without reload.`

func runReload(args []string, t terminal) int {
	flags := t.newFlags("reload", reloadUsage)
	path, stateDir := defaultConfig, stateDirectory()
	flags.StringVar(&path, "config", path, "the configuration `FILE`")
	flags.StringVar(&stateDir, "state-dir", stateDir, "the state `DIR` of the daemon")
	if err := t.parseOptions(flags, args); err != nil {
		return t.misused("reload", err, statusUsage)
	}
	text, err := supervisor.Reload(path, stateDir)
	switch {
	case errors.Is(err, supervisor.ErrNoDaemon):
		t.sayError(err)
		return statusNoDaemon
	case err != nil:
		t.sayError(err)
		return statusError
	}
	fmt.Fprintln(t.stdout, escape.Lines(text))
	return 0
}

// runRehearse is started by a daemon that is asked to go on as this program.
func runRehearse(_ []string, t terminal) int {
	if err := supervisor.Rehearse(); err != nil {
		fmt.Fprintln(t.stderr, err) // the first line is the reason that `reload` prints
		return statusError
	}
	return 0
}
