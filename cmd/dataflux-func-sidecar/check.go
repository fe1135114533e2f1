package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"

	"dataflux-func-sidecar/config"
)

// runCheck says of everything that the service needs whether it is there, one
// line for each finding. It changes nothing and never prints a key.
func runCheck(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", defaultConfig, "configuration `file`")
	unitDir := flags.String("unit-dir", "/etc/systemd/system", "`directory` of the systemd units; empty: do not look, for a start by hand")
	name := flags.String("user", "dffs", "`name` of the user who runs commands")
	if err := flags.Parse(args); err != nil {
		return usageStatus(err)
	}
	if flags.NArg() > 0 {
		fmt.Fprintln(stderr, "check takes no arguments beside its options: give the file with --config")
		return 2
	}
	r := &report{out: stdout}
	r.check(*path, *unitDir, *name)
	if r.failed {
		return 1
	}
	return 0
}

// report prints findings as they are made and remembers whether one is bad.
type report struct {
	out    io.Writer
	failed bool
}

func (r *report) ok(format string, args ...any)      { r.line("ok", format, args) }
func (r *report) warning(format string, args ...any) { r.line("warning", format, args) }

func (r *report) failure(format string, args ...any) {
	r.failed = true
	r.line("failure", format, args)
}

func (r *report) line(level, format string, args []any) {
	fmt.Fprintf(r.out, level+": "+format+"\n", args...)
}

func (r *report) check(path, unitDir, name string) {
	c, err := config.Load(path)
	if err != nil {
		for _, finding := range findings(err) {
			r.failure("%v", finding)
		}
		return
	}
	r.ok("%s is valid, and only its owner can read or write it", path)
	r.checkKeys(c.Keys)
	for _, address := range c.Bind {
		r.checkAddress(address)
	}
	r.checkUnits(c, path, unitDir)
	r.checkUser(c, name)
	r.checkShell(c.Shell)
}

func (r *report) checkKeys(keys []config.Key) {
	for i, key := range keys {
		switch {
		case len(key) < config.ShortKey:
			r.warning("SECRET_KEY %d of %d has fewer than %d bytes: set a longer one here and in DataFlux Func", i+1, len(keys), config.ShortKey)
		case oneByte(key):
			r.warning("SECRET_KEY %d of %d repeats one character, like the example of a manual: set a random one here and in DataFlux Func", i+1, len(keys))
		default:
			r.ok("SECRET_KEY %d of %d has %d bytes", i+1, len(keys), len(key))
		}
	}
	if len(keys) > 1 {
		r.warning("%d keys are accepted: remove the old ones from SECRET_KEY when DataFlux Func uses the new one everywhere", len(keys))
	}
}

func oneByte(key config.Key) bool {
	for _, b := range key {
		if b != key[0] {
			return false
		}
	}
	return true
}

// checkUser finds the user whom commands run as, and where they start.
func (r *report) checkUser(c config.Config, name string) {
	account, err := user.Lookup(name)
	if err != nil {
		r.failure("there is no user %s: run useradd --system --user-group --create-home %s, or install.sh", name, config.ShellQuote(name))
		return
	}
	if account.Uid == "0" {
		r.failure("commands would run as root, since user %s has uid 0: give another with --user", name)
		return
	}
	r.ok("user %s exists, uid %s", name, account.Uid)
	workdir, origin := c.Workdir, "WORKDIR"
	if workdir == "" {
		workdir, origin = account.HomeDir, "the home directory of "+name
	}
	if info, err := os.Stat(workdir); err != nil || !info.IsDir() {
		r.failure("%s, %s, is not a directory: create it, or write an existing one to WORKDIR", origin, workdir)
		return
	}
	r.ok("%s, %s, exists", origin, workdir)
}

func (r *report) checkShell(shell string) {
	info, err := os.Stat(shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		r.failure("SHELL, %s, is not an executable file: write SHELL = \"/bin/sh\"", shell)
		return
	}
	r.ok("SHELL, %s, is executable", shell)
}
