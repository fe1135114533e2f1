package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/executor"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// maxNonces bounds how many signed requests are accepted within a time window and its memory: about
// 40 bytes each.
const maxNonces = 1 << 20

// spareConnections is how many callers may be connected besides those whose commands run.
const spareConnections = 512

// lastEntries is how long the end waits for a journal that hangs.
const lastEntries = time.Second

type serveOptions struct {
	configPath string
	stateDir   string
	user       string
	bind       string
	metrics    string
}

const serveUsage = `serve [OPTIONS]

Runs the daemon: systemd does, with the sockets of its unit. By hand, give the addresses with --bind.`

func runServe(args []string, t terminal) int {
	var o serveOptions
	flags := t.newFlags("serve", serveUsage)
	flags.StringVar(&o.configPath, "config", defaultConfig, "the configuration `FILE`")
	flags.StringVar(&o.stateDir, "state-dir", stateDirectory(), "the `DIR` for what must survive a restart")
	flags.StringVar(&o.user, "user", "dffs", "the `NAME` of the user that commands run as, when started as root")
	flags.StringVar(&o.bind, "bind", "", "listen on `ADDRESSES` (separated by commas) when no sockets are handed over")
	flags.StringVar(&o.metrics, "metrics", "", "with --bind: serve metrics for Prometheus on `ADDRESSES` of their own")
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) > 0 {
		err = fmt.Errorf("there is no argument %q; see --help", arguments[0])
		t.say("serve: %v", err)
	}
	if err != nil {
		return refuseUsage(err, 2)
	}
	log := journal.New(t.stderr)
	defer log.Flush(lastEntries)
	if err := serve(o, log); err != nil {
		log.Write(journal.StartFailed(), fmt.Sprintf("Not serving: %v", err), nil)
		return 1
	}
	return 0
}

// stateDirectory is where systemd says that it is, else its usual place.
func stateDirectory() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	return "/var/lib/dataflux-func-sidecar"
}

// serve does what needs root, gives root up, and serves until it is told to stop.
func serve(o serveOptions, log *journal.Log) error {
	syscall.Umask(0o022) // commands inherit it; a login of the user has the same
	sockets, err := inheritedSockets()
	if err != nil {
		return err
	}
	if err := privsep.MarkCloseOnExec(3); err != nil {
		return err
	}
	descriptors, err := exec.NewDescriptors() // before anything else that stays open
	if err != nil {
		return err
	}
	settings, err := config.Load(o.configPath)
	if err != nil {
		return err
	}
	if sockets, err = completeSockets(sockets, o, settings, log); err != nil {
		return err
	}
	identity, err := identityOf(settings, sockets, log)
	if err != nil {
		return err
	}
	kept, err := openDurable(o.stateDir, settings)
	if err != nil {
		return err
	}
	user, cgroups, err := dropTo(o.user, settings.AllowSudo, log)
	if err != nil {
		return err
	}
	first, err := startNetworkRole(sockets) // it takes as long to get ready as what comes here before it is needed
	if err != nil {
		return err
	}
	_, forMetrics := divided(sockets)
	e, err := newExecutor(settings, user, kept, descriptors, len(forMetrics), log)
	if err != nil {
		first.Kill()
		return err
	}
	log.Write(journal.TreeHeld(), e.HoldTrees(cgroups.of, cgroups.missing), nil)
	go kept.keepSynced(log)
	s := &supervisor{
		executor: e, log: log, sockets: sockets, first: first, identity: identity, user: user.Name, notifier: newNotifier(),
		drainTimeout: settings.DrainTimeout, killGrace: settings.KillGrace,
	}
	return errors.Join(s.run(), kept.close())
}

// cgroups are those that commands get, or why there are none.
type cgroups struct {
	of      *exec.Cgroups
	missing error
}

// dropTo gives up root for good, and prepares before that what takes root. An ordinary user stays who
// they are.
func dropTo(name string, allowSudo bool, log *journal.Log) (privsep.User, cgroups, error) {
	user, err := runUser(name, log)
	if err != nil {
		return user, cgroups{}, err
	}
	var c cgroups
	c.of, c.missing = exec.OpenCgroups(user.UID, user.GID)
	if allowSudo {
		log.Write(journal.Degraded(), "ALLOW_SUDO is on: commands may become root where sudo's rules let them", nil)
	} else if err := privsep.SetNoNewPrivs(); err != nil {
		return user, c, err
	}
	return user, c, privsep.Drop(user)
}

func runUser(name string, log *journal.Log) (privsep.User, error) {
	if os.Geteuid() == 0 {
		return privsep.LookupUser(name)
	}
	user, err := privsep.CurrentUser()
	if err == nil {
		log.Write(journal.Degraded(), fmt.Sprintf("Started without root: commands run as %q, who can read the key and the configuration", user.Name), nil)
	}
	return user, err
}

func newExecutor(settings config.Config, user privsep.User, kept *durable, descriptors *exec.Descriptors, metricsSockets int, log *journal.Log) (*executor.Executor, error) {
	nonces := sign.NewNonceCache(settings.TimeWindow, maxNonces, time.Now, kept.nonces)
	kept.restore(nonces, log)
	verifier, err := sign.NewVerifier(rawKeys(settings.Keys), settings.TimeWindow, time.Now, nonces)
	if err != nil {
		return nil, err
	}
	home := homeOf(user, log)
	workdir := settings.Workdir
	if workdir == "" {
		workdir = home
	}
	return executor.New(executor.Options{
		Verifier: verifier,
		Commands: executor.Commands{
			Shell: settings.Shell, Workdir: workdir,
			Login:     exec.Login{Name: user.Name, Home: home, Shell: user.Shell, Lang: language()},
			MaxOutput: settings.MaxOutput, Timeout: settings.CommandTimeout, Grace: settings.KillGrace,
			LogText: settings.LogCommands, EndBackground: settings.EndBackground,
			Limits: exec.Limits{
				OpenFiles: uint64(settings.LimitOpenFiles), Processes: uint64(settings.LimitProcesses),
				Memory: uint64(settings.LimitMemory), CPUTime: settings.LimitCPUTime,
			},
		},
		Jobs: executor.Jobs{
			Load:       newProcessors(mostProcessors()).load,
			MaxRunning: settings.MaxRunning, MaxQueued: settings.MaxQueued,
			KeepTime: settings.KeepTime, KeepCount: settings.KeepJobs, KeepBytes: settings.KeepBytes,
		},
		Callbacks: executor.Callbacks{
			Key: settings.Keys[0], Expiry: settings.CallbackExpiry, MaxPending: settings.MaxCallbacks,
			Ledger: kept.deliveries, Found: kept.foundDeliveries,
		},
		Limits: message.Limits{
			MaxBody: uint32(settings.MaxBody), MaxConnections: uint32(settings.MaxRunning + settings.MaxQueued + spareConnections), CallbackTimeout: settings.CallbackTimeout,
			MetricsSockets: uint32(metricsSockets),
		},
		Log: log, Version: version, Descriptors: descriptors,
	})
}

func rawKeys(keys []config.Key) [][]byte {
	var raw [][]byte
	for _, k := range keys {
		raw = append(raw, k)
	}
	return raw
}

// homeOf does as login(1): a home that is not there becomes the root directory.
func homeOf(user privsep.User, log *journal.Log) string {
	if info, err := os.Stat(user.Home); err == nil && info.IsDir() {
		return user.Home
	}
	log.Write(journal.Degraded(), fmt.Sprintf("The home directory %q of %q is missing: commands start in /. Create it, or set WORKDIR", user.Home, user.Name), nil)
	return "/"
}

// language is the host's, which systemd hands to services; without one, programs would not print UTF-8.
func language() string {
	if lang := os.Getenv("LANG"); lang != "" && !strings.ContainsAny(lang, "\x00=") {
		return lang
	}
	return "C.UTF-8"
}
