package main

import (
	"os"
	"time"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/supervisor"
)

// maxFlush bounds how long the end waits for a journal that hangs.
const maxFlush = time.Second

const serveUsage = `serve [OPTIONS]

Runs the daemon. systemd does this, with the sockets of the socket unit. By hand, give the
addresses with --bind.`

func runServe(args []string, t terminal) int {
	o := supervisor.Options{Version: version}
	flags := t.newFlags("serve", serveUsage)
	flags.StringVar(&o.Config, "config", defaultConfig, "the configuration `FILE`")
	flags.StringVar(&o.StateDir, "state-dir", stateDirectory(),
		"the `DIR` for what must survive a restart")
	flags.StringVar(&o.User, "user", defaultUser,
		"the `NAME` of the user that commands run as, when started as root")
	flags.StringVar(&o.RoleUser, "role-user", "",
		"the `NAME` of the user of the daemon's own processes, when started as root (default "+
			supervisor.DefaultRoleUser+" if it exists)")
	flags.StringVar(&o.Bind, "bind", "",
		"listen on `ADDRESSES` (separated by commas) when no sockets are handed over")
	flags.StringVar(&o.Metrics, "metrics", "",
		"with --bind: serve metrics for Prometheus on `ADDRESSES` of their own")
	if err := t.parseOptions(flags, args); err != nil {
		return t.misused("serve", err, statusUsage)
	}
	supervisor.IgnoreClosedReaders()
	log := journal.New(t.stderr)
	defer log.Flush(maxFlush)
	starts := supervisor.OpenFailedStarts(o)
	if err := supervisor.Run(o, log); err != nil && !starts.Report(err, log) {
		return statusError
	}
	return 0
}

// stateDirectory is the one that systemd names, else the default.
func stateDirectory() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	return "/var/lib/dataflux-func-sidecar"
}
