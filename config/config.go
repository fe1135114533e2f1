// Package config reads and writes the configuration of the sidecar: strict
// TOML, listening addresses and the files that the configure command keeps. It
// also takes over the configuration of the original Sidecar, which shells
// sourced: it reads that as a shell would and never runs or expands any of it.
//
// It must never print a key. No message holds a value of the file, nor an
// excerpt of it: a message says where (line and column), what is wrong and what
// to write instead.
package config

import "time"

// DefaultBind is the BIND of a new installation: the host itself, and the
// address under which Docker's default bridge reaches the host.
const DefaultBind = "127.0.0.1:8099,172.17.0.1:8099"

// Config is a configuration that has been checked.
type Config struct {
	Bind []Address
	// Keys holds at least one key. The first signs callbacks; all verify.
	Keys []Key

	// Paths of the PEM files that TCP addresses speak TLS with; both empty where none does.
	TLSCertificate string
	TLSKey         string
	// TLSAddresses are the addresses of Bind that speak TLS; none means all TCP addresses.
	TLSAddresses []Address

	Shell string
	// Workdir is empty where the home directory of the run user is meant.
	Workdir string

	// CommandTimeout is zero where commands may run without end.
	CommandTimeout  time.Duration
	KillGrace       time.Duration
	DrainTimeout    time.Duration
	TimeWindow      time.Duration
	CallbackTimeout time.Duration
	CallbackExpiry  time.Duration

	MaxBody   int64
	MaxOutput int64

	MaxRunning   int
	MaxQueued    int
	MaxCallbacks int

	// What is remembered of jobs that have ended.
	KeepTime  time.Duration
	KeepJobs  int
	KeepBytes int64

	// MaxState bounds the files of results that wait for their receivers, in bytes.
	MaxState int64

	// What each command may take; zero is as the service may. Requests may ask for less.
	LimitOpenFiles int
	LimitProcesses int
	LimitMemory    int64
	LimitCPUTime   time.Duration

	EndBackground bool

	AllowSudo   bool
	LogCommands bool
}

// Default is what a configuration that sets nothing means. It has no key, so it
// is not yet one that may be served.
func Default() Config {
	return Config{
		Bind:            defaultBind(),
		Shell:           "/bin/sh",
		KillGrace:       5 * time.Second,
		DrainTimeout:    30 * time.Second,
		TimeWindow:      300 * time.Second,
		CallbackTimeout: 30 * time.Second,
		CallbackExpiry:  24 * time.Hour,
		MaxBody:         1 << 20,
		MaxOutput:       8 << 20,
		MaxRunning:      1024,
		MaxCallbacks:    1000,
		KeepTime:        time.Hour,
		KeepJobs:        1000,
		KeepBytes:       32 << 20,
		MaxState:        512 << 20,
		LogCommands:     true,
	}
}

func defaultBind() []Address {
	addresses, err := ParseBind(DefaultBind)
	if err != nil {
		panic("the default BIND is wrong: " + err.Error()) // a constant: a test parses it
	}
	return addresses
}
