// Package config reads and writes the configuration: strict TOML, the listening addresses, the TLS
// pair that it names, and the drop-in that tells systemd of the addresses.
//
// The table of settings in config.go is the only source of the keys. From it
// `go generate ./internal/config` writes docs/reference.toml.
//
// No message holds a value of the file or an excerpt of it, as either may be a key or a secret
// variable: a message has the position, what the value must be, and an example.
package config

import (
	"net/netip"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

//go:generate go test -run TestReference_IsGenerated -update

// DefaultBind is the BIND of a new installation: the host itself, and the address under which
// Docker's default bridge reaches the host.
const DefaultBind = "127.0.0.1:8099,172.17.0.1:8099"

// Bounds of settings that a key or an action has too.
const (
	maxRunning   = 10_000
	maxOpenFiles = 1 << 20
	maxProcesses = 1 << 22
	maxMemory    = 1 << 46
	maxCPUTime   = 168 * time.Hour
)

// Config is a valid configuration. The table below describes each field.
type Config struct {
	Bind        []Address
	MetricsBind []Address // none: no metrics, unless systemd hands over a socket for them
	// Keys are those of SECRET_KEY; none: there are NamedKeys only. The first signs callbacks; all
	// verify.
	Keys []Key
	// Callers are the networks from which TCP addresses of Bind can be reached; none: all.
	Callers []netip.Prefix

	// SignedHosts has hosts in lower case, each with a port or without; see policy.Hosts.
	SignedHosts []string

	TLSCertificate string    // a path; empty together with TLSKey
	TLSKey         string    // a path
	TLSAddresses   []Address // none: all TCP addresses of Bind

	Shell       string
	Workdir     string      // empty: the home directory of the run user
	Environment Environment // nil: a command gets the variables of a login only

	CommandTimeout  time.Duration // zero: none
	KillGrace       time.Duration
	DrainTimeout    time.Duration
	TimeWindow      time.Duration
	CallbackTimeout time.Duration
	CallbackExpiry  time.Duration

	MaxBody    int64 // bytes
	MaxOutput  int64 // bytes, of each of stdout and stderr
	OutputTail int   // bytes of these that are kept of the end, at most half of them

	MaxRunning   int
	MaxQueued    int
	MaxCallbacks int

	// Bounds on the ended jobs that are kept.
	KeepTime  time.Duration
	KeepJobs  int
	KeepBytes int64

	MaxState int64 // bytes

	// Resource limits of each command; zero: those of the service. A request may ask for less.
	LimitOpenFiles int
	LimitProcesses int
	LimitMemory    int64 // bytes
	LimitMilliCPU  uint64
	LimitCPUWeight uint64
	LimitIOWeight  uint64
	LimitCPUTime   time.Duration

	// Limits of all commands together; zero: none.
	TotalMemory    int64 // bytes
	TotalProcesses int

	EndBackground bool
	AllowSudo     bool
	LogCommands   bool

	// AuditRequired: a command whose start the journal does not take is not run.
	AuditRequired bool

	NamedKeys []NamedKey      // in the order of their names
	Actions   []policy.Action // in the order of their names
}

// StopTime returns how long a stop of the daemon takes at most.
func (c Config) StopTime() time.Duration { return c.DrainTimeout + 2*c.KillGrace }

// Default returns the configuration of a file that sets nothing. It has no key, so it must not be
// served.
func Default() Config {
	var c Config
	for _, s := range settings(&c) {
		if s.initial == nil {
			continue
		}
		if err := s.store(s.initial); err != nil {
			// The defaults are constants, and each test of Parse uses them.
			panic("the default of " + s.name + " is wrong: " + err.Error())
		}
	}
	return c
}

// settings is the table of all keys, in the order of docs/reference.toml. Values are stored in c.
//
// A new key is a field of Config and a row here. Then run go generate, and add the key to the
// documents that TestDocuments_HaveEveryKey names.
func settings(c *Config) []setting {
	return []setting{
		{
			"BIND", addressList(&c.Bind), DefaultBind, "",
			`The addresses to listen on: IPv4 "127.0.0.1:8099", IPv6 "[::1]:8099", or the absolute
			path of a Unix socket, 107 bytes at most. No host names, no zones. 172.17.0.1 is the
			host as Docker's default bridge shows it to a container; it need not exist yet.`,
		},
		{
			"METRICS_BIND", addressListOrEmpty(&c.MetricsBind), "", `"127.0.0.1:18099"`,
			`The addresses that serve metrics for Prometheus, and nothing else, in the form of
			BIND. Everybody who can connect to one reads the metrics, without a signature and
			without TLS. Empty: none.`,
		},
		{
			"SECRET_KEY", keyList(&c.Keys), nil, `"a long random text"`,
			`The key that DataFlux Func signs its requests with. Required, at most 1024 bytes;
			fewer than 16 are accepted with a warning. While a key is rotated, an array of up to
			8: ["new key", "old key"]. All of them are accepted, and callbacks are signed with the
			first.`,
		},
		{
			"CALLERS", networkList(&c.Callers), "", `"127.0.0.0/8,172.16.0.0/12"`,
			`The networks whose hosts can connect to the TCP addresses of BIND, such as
			"127.0.0.0/8,172.16.0.0/12" for this host and its containers. Connections of others
			are closed before a byte is read. Empty: every host that reaches an address. Unix
			sockets and metrics are not affected.`,
		},
		{
			"SIGNED_HOSTS", hostList(&c.SignedHosts), "", `"web1.example.com,192.0.2.7:8099"`,
			`The names and addresses under which callers with PUBLIC_KEYS address this host, each
			with its port or for all ports: a request that is signed for another host is refused.
			Empty: the address of BIND that the connection came in at, the host's name with that
			port, and "localhost" on the loopback address and on Unix sockets. Needed where the
			host has another name or address for its callers, or shares one with other hosts.`,
		},
		{
			"TLS_CERTIFICATE", pathOrEmpty(&c.TLSCertificate), "", `"/etc/ssl/certs/sidecar.pem"`,
			`The file (PEM) of a certificate, followed by its chain, 65536 bytes (64 KiB) at most.
			With it, TCP addresses speak TLS, and callers use https://. It is read at the start
			and at each reload: reload the service after a renewal.`,
		},
		{
			"TLS_KEY", pathOrEmpty(&c.TLSKey), "", `"/etc/ssl/private/sidecar.key"`,
			`The file (PEM) of the certificate's private key, not encrypted, 16384 bytes (16 KiB)
			at most. It belongs to root and has mode 0600; only root reads it.`,
		},
		{
			"TLS_ADDRESSES", addressListOrEmpty(&c.TLSAddresses), "", "",
			`The addresses of BIND that speak TLS when there is a certificate. Empty: every TCP
			address. Unix sockets never do.`,
		},
		{
			"SHELL", absolutePath(&c.Shell), "/bin/sh", "",
			`The shell that runs commands, with -c. It is also the variable SHELL of commands.`,
		},
		{
			"WORKDIR", pathOrEmpty(&c.Workdir), "", `"/home/dffs"`,
			`The working directory of commands whose request names none. Empty: the home directory
			of the user who runs them.`,
		},
		{
			"ENVIRONMENT", variables(&c.Environment),
			map[string]any{},
			`{ HTTP_PROXY = "http://192.0.2.1:3128" }`,
			`Variables for all commands, such as { JAVA_HOME = "/usr/lib/jvm/default-java" }, or
			one NAME = "value" on each line below a line [ENVIRONMENT] at the end of the file. At
			most 256 of them, with names and values of 65536 bytes (64 KiB) in all. They override
			those of a login (PATH, HOME, USER, LOGNAME, SHELL, LANG); the envs of a request
			override them. The name of another key of this file is refused, except SHELL. Every
			command can read the values; the journal never shows them.`,
		},
		{
			"COMMAND_TIMEOUT", duration(&c.CommandTimeout, 0, 168*time.Hour), "0s", "",
			`How long a command may run if its request has no timeout. "0s": without end.`,
		},
		{
			"KILL_GRACE", duration(&c.KillGrace, 0, 10*time.Minute), "5s", "",
			`The time between SIGTERM and SIGKILL to the process group of a command.`,
		},
		{
			"DRAIN_TIMEOUT", duration(&c.DrainTimeout, 0, time.Hour), "30s", "",
			`How long a stop waits for running commands and callbacks.`,
		},
		{
			"TIME_WINDOW", duration(&c.TimeWindow, time.Second, time.Hour), "300s", "",
			`How far the timestamp of a request may differ from this host's clock, either way.`,
		},
		{
			"CALLBACK_TIMEOUT", duration(&c.CallbackTimeout, time.Second,
				10*time.Minute), "60s", "",
			`The timeout of one attempt to deliver a callback. A function of DataFlux Func may run
			for 35 s and succeed.`,
		},
		{
			"CALLBACK_EXPIRY", duration(&c.CallbackExpiry, time.Minute, 720*time.Hour), "24h", "",
			`How long delivery of a callback is retried.`,
		},
		{
			"MAX_BODY", byteCount(&c.MaxBody, 1<<10, 16<<20), 1 << 20, "",
			`The largest body of a request.`,
		},
		{
			"MAX_OUTPUT", byteCount(&c.MaxOutput, 1<<10, 256<<20), 8 << 20, "",
			`How much of a command's stdout is kept, and as much of its stderr. The rest is
			dropped, and the answer says so.`,
		},
		{
			"OUTPUT_TAIL", byteCount(&c.OutputTail, 0, 16<<20), 64 << 10, "",
			`How much of MAX_OUTPUT is for the end of a stream that is longer: its start and this
			much of its end are kept, and what is between them is dropped. At most half of
			MAX_OUTPUT. 0: the start alone.`,
		},
		{
			"MAX_RUNNING", number(&c.MaxRunning, 1, maxRunning), 1024, "",
			`How many commands may run at the same time. More of them wait, or are answered 503.`,
		},
		{
			"MAX_QUEUED", number(&c.MaxQueued, 0, 100_000), 0, "",
			`How many commands may wait for their turn. More are answered 503.`,
		},
		{
			"KEEP_TIME", duration(&c.KeepTime, 0, 168*time.Hour), "1h", "",
			`How long an ended job is kept under /jobs, unless one of the next two bounds is
			reached first; then the oldest go.`,
		},
		{
			"KEEP_JOBS", number(&c.KeepJobs, 0, 100_000), 1000, "",
			`How many ended jobs are kept.`,
		},
		{
			"KEEP_BYTES", byteCount(&c.KeepBytes, 0, 4<<30), 32 << 20, "",
			`How much output of ended jobs is kept.`,
		},
		{
			"MAX_CALLBACKS", number(&c.MaxCallbacks, 1, 100_000), 1000, "",
			`How many callbacks may wait for delivery.`,
		},
		{
			"MAX_STATE", byteCount(&c.MaxState, 16<<20, 64<<30), 512 << 20, "",
			`How much may be on disk: results that wait for their receivers, and jobs whose callers
			did not wait.`,
		},
		{
			"LIMIT_OPEN_FILES", number(&c.LimitOpenFiles, 0, maxOpenFiles), 0, "",
			`How many files each process of a command may have open. 0: as many as the service. A
			request may ask for less, as with the next six.`,
		},
		{
			"LIMIT_PROCESSES", number(&c.LimitProcesses, 0, maxProcesses), 0, "",
			`How many processes and threads a command may have. 0: as many as the service. On hosts
			that cannot bound a command as a whole: how many the run user may have in total when a
			command starts another. The journal and check say which of the two holds.`,
		},
		{
			"LIMIT_MEMORY", memory(&c.LimitMemory), 0, "",
			`How much memory a command may have as a whole, without swap; the kernel kills one that
			needs more. 0: as much as the service. On hosts that cannot bound a command as a whole:
			how much address space each of its processes may have, of which Node.js and Java reserve
			far more than they use.`,
		},
		{
			"LIMIT_CPUS", processors(&c.LimitMilliCPU), 0, "1.5",
			`How many processors a command may use as a whole, such as 0.5. 0: as many as the
			service. It has no effect on hosts that cannot bound a command as a whole.`,
		},
		{
			"LIMIT_CPU_WEIGHT", number(&c.LimitCPUWeight, 0, exec.MaxWeight), 0, "50",
			`The share of a command, as a whole, among commands that want the same processors: one
			of 200 gets twice the time of one of 100, and one alone gets all. 0: 100. It has no
			effect on hosts that cannot bound a command as a whole.`,
		},
		{
			"LIMIT_IO_WEIGHT", number(&c.LimitIOWeight, 0, exec.MaxWeight), 0, "50",
			`The same for commands that want the same disk, which must have the scheduler bfq, or
			io.cost of the kernel enabled. 0: 100.`,
		},
		{
			"LIMIT_CPU_TIME", duration(&c.LimitCPUTime, 0, maxCPUTime), "0s", "",
			`How much CPU time each process of a command may use, rounded up to full seconds. "0s":
			as much as the service.`,
		},
		{
			"TOTAL_MEMORY", memory(&c.TotalMemory), 0, "",
			`How much memory all commands together may have, without swap; the kernel kills one of
			them when they need more. The service itself is not counted. 0: no bound. It has no
			effect on hosts that cannot bound a command as a whole, as the next.`,
		},
		{
			"TOTAL_PROCESSES", number(&c.TotalProcesses, 0, maxProcesses), 0, "",
			`How many processes and threads all commands together may have. 0: no bound.`,
		},
		{
			"END_BACKGROUND", boolean(&c.EndBackground), false, "",
			`Whether the background processes of a command are ended together with its shell.
			Otherwise they run until the service stops or restarts; then they get SIGTERM, and
			SIGKILL after KILL_GRACE. Start a process that must outlive that with systemd-run.`,
		},
		{
			"ALLOW_SUDO", boolean(&c.AllowSudo), false, "",
			`Whether commands may use sudo. If so, no command has no_new_privs; sudoers decides
			what sudo then permits.`,
		},
		{
			"LOG_COMMANDS", boolean(&c.LogCommands), true, "",
			`Whether the journal shows the text of commands. It never shows their environment.`,
		},
		{
			"AUDIT", choice(&c.AuditRequired, option[bool]{"best-effort", false},
				option[bool]{"required", true}), "best-effort", "",
			`Whether a command runs whose start cannot be written to the journal: "best-effort",
			it does; "required", it does not, and its request is answered 503.`,
		},
		{
			"KEY", namedKeys(&c.NamedKeys),
			map[string]any{},
			"{ deploy = { SECRET = \"a long random text\" } }",
			`Keys with names, each a table [KEY.name] at the end of the file, 100 at most. A name
			has 1 to 32 of a-z, 0-9, - and _, and begins with a letter; default, first and last
			are taken. With one, SECRET_KEY may be left out.`,
		},
		{
			"ACTION", actions(&c.Actions),
			map[string]any{},
			"{ deploy = { RUN = \"/opt/deploy\" } }",
			`Commands that requests run by name, each a table [ACTION.name] at the end of the
			file, 200 at most. A name is as that of a key.`,
		},
	}
}
