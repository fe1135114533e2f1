package supervisor

import (
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/executor"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

const (
	// maxNonces bounds the signed requests that are accepted within a time window; each takes about
	// 40 bytes of memory.
	maxNonces = 1 << 20
	// spareConnections is how many callers may be connected in addition to one for each command
	// that runs or waits.
	spareConnections = 512
)

// newExecutor makes the executor role from what was opened as root, and confines its commands.
func newExecutor(version string, r resources, log *journal.Log) (*executor.Executor, error) {
	s := r.settings
	nonces := sign.NewNonceCache(s.TimeWindow, maxNonces, time.Now, r.state.nonces)
	r.state.restore(nonces, log)
	verifier, err := sign.NewVerifier(signingKeys(s), s.TimeWindow, time.Now, nonces)
	if err != nil {
		return nil, err
	}
	e, err := executor.New(executor.Options{
		Verifier: verifier, Policy: policyOf(s), Hosts: hostsOf(r),
		Commands: commandsOf(s, r.principals.Run.Name, r.principals.Run.Home),
		Jobs: executor.Jobs{
			Load:       newProcessors(defaultMaxProcs()).setRunning,
			MaxRunning: s.MaxRunning, MaxQueued: s.MaxQueued,
			KeepTime: s.KeepTime, KeepCount: s.KeepJobs, KeepBytes: s.KeepBytes,
		},
		Callbacks: executor.Callbacks{
			Keys: callbackKeys(s), Expiry: s.CallbackExpiry, MaxPending: s.MaxCallbacks,
			Ledger: r.state.deliveries, Found: r.state.foundDeliveries,
			Contained: contained(os.Getpid(), os.Getppid(), os.Getenv),
		},
		Limits: limitsOf(r), Log: log, Version: version, Descriptors: r.descriptors,
		CertificateExpiry: certificateExpiry(r.identity), Restored: r.restored,
	})
	if err != nil {
		return nil, err
	}
	return e, confineCommands(e, r, log)
}

// limitsOf are the limits of the network role.
func limitsOf(r resources) message.Limits {
	_, metrics := splitSockets(r.sockets)
	return message.Limits{
		MaxBody:         uint32(r.settings.MaxBody),
		MaxConnections:  uint32(r.settings.MaxRunning + r.settings.MaxQueued + spareConnections),
		CallbackTimeout: r.settings.CallbackTimeout,
		MetricsSockets:  uint32(len(metrics)),
		Callers:         config.JoinNetworks(r.settings.Callers),
	}
}

func commandsOf(s config.Config, user, home string) executor.Commands {
	return executor.Commands{
		Shell: s.Shell, Workdir: s.Workdir,
		Login:     exec.Login{Name: user, Home: home, Shell: s.Shell, Lang: language()},
		MaxOutput: s.MaxOutput, Tail: s.OutputTail, Timeout: s.CommandTimeout, Grace: s.KillGrace,
		LogText: s.LogCommands, AuditRequired: s.AuditRequired, EndBackground: s.EndBackground,
		Limits: exec.Limits{
			OpenFiles: uint64(s.LimitOpenFiles), Processes: uint64(s.LimitProcesses),
			Memory: uint64(s.LimitMemory), CPUTime: s.LimitCPUTime,
			MilliCPU: s.LimitMilliCPU, CPUWeight: s.LimitCPUWeight, IOWeight: s.LimitIOWeight,
		},
		Environment: variables(s.Environment),
	}
}

// confineCommands makes commands run as the run user alone, without a way to more privileges unless
// sudo is allowed, and each in a cgroup of its own where the host has cgroups.
func confineCommands(e *executor.Executor, r resources, log *journal.Log) error {
	if r.settings.AllowSudo {
		logf(log, journal.Degraded(),
			"ALLOW_SUDO is on: commands may become root where sudo's rules let them")
	}
	uid, gid := -1, -1
	if r.principals.Separate() {
		uid, gid = r.principals.Run.UID, r.principals.Run.GID
	}
	if err := e.Confine(uid, gid, !r.settings.AllowSudo); err != nil {
		return err
	}
	containment := e.Contain(r.cgroups, r.cgroupsErr)
	if !r.restored { // nothing has changed since
		log.Write(journal.TreeHeld(), containment.String(), nil)
	}
	holdLimits(e, r, containment.NoCgroups, log)
	return nil
}

// holdLimits makes the configured limits hold, and logs how, where there are any.
func holdLimits(e *executor.Executor, r resources, noCgroups error, log *journal.Log) {
	s := r.settings
	totals := exec.Totals{Memory: uint64(s.TotalMemory), Processes: uint64(s.TotalProcesses)}
	by, why, err := e.HoldLimits(s.LimitsOfAny(), totals, r.cgroups, noCgroups)
	switch {
	case by == exec.ByCgroup:
		log.Write(journal.TreeHeld(), "Limits of memory, processes, processors and I/O hold "+
			"for each command as a whole", nil)
	case by == exec.ByProcess:
		logf(log, journal.TreeHeld(), "A command cannot be bounded as a whole: %v. So "+
			"LIMIT_MEMORY bounds the address space of each process, LIMIT_PROCESSES the processes "+
			"of all commands together, and LIMIT_CPUS, LIMIT_CPU_WEIGHT and LIMIT_IO_WEIGHT "+
			"nothing", why)
	}
	if err != nil {
		logf(log, journal.Degraded(), "TOTAL_MEMORY or TOTAL_PROCESSES has no effect: %v", err)
	}
}

// credentials are what may sign requests, for a comparison.
func credentials(s config.Config) (all [][]byte) {
	for _, key := range signingKeys(s) {
		all = append(all, key.Credential())
	}
	return all
}

func signingKeys(s config.Config) (keys []sign.Key) {
	for _, secret := range s.Secrets() {
		keys = append(keys, sign.Key{Name: secret.Name, Secret: secret.Key})
	}
	for _, named := range s.NamedKeys {
		for _, public := range named.PublicKeys {
			keys = append(keys, sign.Key{Name: named.Name, Public: public})
		}
	}
	return keys
}

// hostsOf are the hosts that requests may be signed for. A reload renews them.
func hostsOf(r resources) policy.Hosts {
	name, _ := os.Hostname() // without a name, addresses are left
	hosts := policy.Hosts{Listed: r.settings.SignedHosts, Name: policy.OwnName(name)}
	sockets, _ := splitSockets(r.sockets)
	for _, a := range addressesOf(sockets) {
		if a.Network == "tcp" {
			hosts.Bound = append(hosts.Bound, a.AddrPort)
		} else {
			hosts.Unix = true
		}
	}
	return hosts
}

// callbackKeys are the secrets that sign callbacks: the first of each key.
func callbackKeys(s config.Config) map[string][]byte {
	keys := map[string][]byte{}
	for _, secret := range s.Secrets() {
		if _, later := keys[secret.Name]; !later {
			keys[secret.Name] = secret.Key
		}
	}
	return keys
}

func policyOf(s config.Config) policy.Policy {
	var keys []policy.Key
	if len(s.Keys) > 0 {
		keys = append(keys, policy.Default())
	}
	for _, k := range s.NamedKeys {
		keys = append(keys, k.Key)
	}
	return policy.New(keys, s.Actions)
}

// variables are those of ENVIRONMENT, sorted by name.
func variables(environment config.Environment) []exec.Variable {
	var all []exec.Variable
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		all = append(all, exec.Variable{Name: name, Value: string(environment[name])})
	}
	return all
}

// language is LANG of the host, which systemd passes to services. Without it programs would not
// print UTF-8.
func language() string {
	if lang := os.Getenv("LANG"); lang != "" && !strings.ContainsAny(lang, "\x00=") {
		return lang
	}
	return "C.UTF-8"
}
