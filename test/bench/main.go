// Command bench measures what a call to the daemon costs and compares it with targets. `make bench`
// takes about six minutes and writes docs/benchmark.md and its plot, benchmark.svg; `go run -C
// test/bench . -quick` takes two and writes nothing. With -plot it only draws the plot again. With
// -reload or -keys it measures reloads or the cost of keys only, with -against FILE it compares two
// builds of the daemon. With -facts it tries what the daemon and its peers do with replays, broken
// connections and keys, and writes the table of docs/why-not.md (`make bench-facts`). With -fleet N
// it measures SidecarFleet of the connector against N daemons and writes docs/benchmark-fleet.md
// (`make bench-fleet`). With -ansible N it measures the Ansible connection and writes
// docs/benchmark-ansible.md (`make bench-ansible`). The exit status does not depend on the figures.
//
// It leaves the host as it was: it starts a daemon with a configuration of its own in a temporary
// folder, and the peers likewise. It installs nothing.
//
// The baseline is a bare loop in Go: os/exec runs the same commands with the same shell, user and
// environment into two bytes.Buffer, in a process of its own. All runners take turns, round by
// round, and each ratio divides two rounds of the same turn, so that other load on the machine
// affects both. A ratio is the median over the rounds; the brackets after it hold the range.
//
// The client is a third process: one thread of raw system calls over keep-alive connections, with
// requests that are signed before the clock starts. Its CPU time is listed, as the loop needs no
// client. The daemon is started by hand, so its journal is text in a file and its commands have no
// cgroups; journald and systemd's delegation are part of the cold start alone.
//
// The peers are what a user would install instead. webhook checks an HMAC over the body and answers
// with the output, called by the same client; it keeps no nonces and writes no journal. OpenSSH has
// one connection that stays open and one client process per command, as `ssh` is used; it runs a
// quarter of the commands of each round. Its memory is the server's alone.
//
// "CPU" is the processor time of each process from /proc, in µs per command; "commands" is that of
// the shells, for OpenSSH of its clients. MB are millions of bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	runtime.LockOSThread() // Pdeathsig of the children follows this thread
	if len(os.Args) == 2 && runAsWorker(os.Args[1]) {
		return
	}
	b := bench{report: &report{}}
	root := flag.String(
		"root", "../..", "the `FOLDER` of the repository; the other paths are relative to it",
	)
	flag.BoolVar(&b.quick, "quick", false, "fewer and shorter rounds; writes no document")
	flag.StringVar(
		&b.program, "program", "bin/dataflux-func-sidecar", "the daemon's `FILE` (make build)",
	)
	flag.StringVar(
		&b.user, "user", "nobody",
		"the `NAME` of the user that commands run as, when started as root",
	)
	flag.StringVar(
		&b.tree, "tree", "",
		"a Debian tree `FOLDER` with systemd to boot for the cold start (default: that of the end-to-end tests)",
	)
	only := flag.Bool("reload", false, "measure reloads only; writes no document")
	compare := flag.Bool(
		"facts", false, "only try what the peers do with replays, broken connections and keys; writes the table of why-not.md",
	)
	keys := flag.Bool("keys", false, "measure the cost of many keys only; writes no document")
	other := flag.String(
		"against", "", "only compare the daemon with another build of it, this `FILE`",
	)
	flag.IntVar(
		&b.hosts, "fleet", 0, "only measure SidecarFleet, against `N` daemons; writes benchmark-fleet.md",
	)
	flag.IntVar(
		&b.ansibleHosts, "ansible", 0,
		"only measure the Ansible connection, against `N` daemons; writes benchmark-ansible.md",
	)
	flag.StringVar(&b.docs, "docs", "docs", "the `FOLDER` to write documents to; empty: none")
	plotOnly := flag.Bool("plot", false, "only draw benchmark.svg again, from benchmark.md")
	flag.StringVar(
		&b.report.remark, "remark", "",
		"a `SENTENCE` for the document, such as what else the machine did",
	)
	flag.Parse()
	err := os.Chdir(*root)
	switch {
	case err != nil:
	case *plotOnly:
		err = redraw(b.docs)
	default:
		err = b.run(*only, *keys, *compare, *other)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
}

// bench is one run.
type bench struct {
	quick                     bool
	program, user, tree, docs string
	hosts                     int // of a fleet, if that is all to measure
	ansibleHosts              int // of a play, likewise

	report  *report
	daemon  *daemon
	client  *worker // calls the daemon and webhook
	runners []*runner
	workers []*worker
	webhook *webhook
	openssh *openssh
}

// run measures all, or only reloads, keys, another build, or a fleet.
func (b *bench) run(reloads, keys, compare bool, other string) error {
	if _, err := os.Stat(b.program); err != nil {
		return fmt.Errorf("cannot find the daemon: %w\nhint: make build", err)
	}
	folder, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("cannot create a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chmod(folder, 0o711); err != nil { // the run user passes through
		return fmt.Errorf("cannot create a temporary folder: %w", err)
	}
	b.report.begin(b.program)
	switch {
	case b.ansibleHosts > 0:
		return b.ansible(folder)
	case b.hosts > 0:
		return b.fleets(folder)
	case other != "":
		return b.against(other, folder)
	case compare:
		return b.factsOnly(folder)
	case reloads:
		return b.reloads(folder)
	case keys:
		return b.keysOnly(folder)
	}
	if err := b.measureDaemon(folder); err != nil {
		return err
	}
	b.measureColdStart(folder)
	b.report.end()
	if b.docs == "" || b.quick {
		return nil
	}
	text := b.report.document(thisHost(), versions(webhookVersion, sshVersion))
	if err := writeDocument(b.docs, "benchmark.md", text); err != nil {
		return err
	}
	return redraw(b.docs)
}

// measureDaemon runs every measurement that uses a running daemon.
func (b *bench) measureDaemon(folder string) (err error) {
	defer b.stop()
	if b.daemon, err = startDaemon(b.program, b.user, filepath.Join(folder, "daemon")); err != nil {
		return err
	}
	if err := b.startRunners(folder); err != nil {
		return err
	}
	for _, measure := range []func() error{
		func() error { return b.idle("after the start") },
		b.smallCommands,
		b.sleepers,
		func() error { return b.largeOutputs(folder) },
		func() error { return b.growth(folder) },
		func() error { return b.keys(folder) },
		b.hugeOutput,
		func() error { return b.reloads(folder) },
		func() error { return b.idle("after all of the above") },
	} {
		if err := measure(); err != nil {
			return fmt.Errorf("%w\n%s", err, b.daemon.logTail())
		}
	}
	return nil
}

// startRunners starts all runners; the daemon runs already. Loop and daemon are neighbours in each
// turn, which keeps the noise of their ratio small. A peer that cannot start is left out.
func (b *bench) startRunners(folder string) (err error) {
	if b.client, err = b.startWorker(clientWorker, ""); err != nil {
		return err
	}
	loop, err := b.startWorker(loopWorker, b.user)
	if err != nil {
		return err
	}
	b.runners = append(
		b.runners,
		&runner{
			name: "os/exec loop", role: baseline, worker: loop,
			accounts: []account{{name: "loop", process: loop.process}},
		},
		b.runnerOf(b.daemon),
	)
	if err := b.addWebhook(folder); err != nil {
		b.report.missing("webhook", "", err.Error())
	}
	if err := b.addOpenSSH(folder); err != nil {
		b.report.missing("OpenSSH", "", err.Error())
	}
	return nil
}

func (b *bench) startWorker(kind, user string) (*worker, error) {
	w, err := startWorker(kind, user)
	if err == nil {
		b.workers = append(b.workers, w)
	}
	return w, err
}

func (b *bench) runnerOf(d *daemon) *runner {
	return &runner{
		name: "daemon", role: subject, worker: b.client,
		base: task{Address: d.address, Key: d.key}, serving: d.serving,
		accounts: []account{
			{
				name: "executor", process: d.executor,
			},
			{name: "network role", process: d.network},
			{name: "client", process: b.client.process},
		},
	}
}

func (b *bench) addWebhook(folder string) error {
	folder, err := subfolder(folder, "webhook")
	if err != nil {
		return err
	}
	if b.webhook, err = startWebhook(b.user, folder); err != nil {
		return err
	}
	b.runners = append(b.runners, &runner{
		name: "webhook", role: peer, worker: b.client, serving: b.webhook.serving,
		base: task{Address: b.webhook.address, Key: b.webhook.key, Hook: true},
		accounts: []account{
			{name: "webhook", process: b.webhook.serving()[0]},
			{name: "client", process: b.client.process},
		},
	})
	return nil
}

func (b *bench) addOpenSSH(folder string) error {
	folder, err := subfolder(folder, "openssh")
	if err != nil {
		return err
	}
	if b.openssh, err = startOpenSSH(b.user, folder, "ERROR"); err != nil {
		return err
	}
	w, err := b.startWorker(prefixWorker, "")
	if err != nil {
		return err
	}
	r := &runner{
		name: "OpenSSH", role: peer, worker: w, base: task{Prefix: b.openssh.prefix()},
		share: 4, serving: b.openssh.serving,
	}
	for _, p := range b.openssh.serving() {
		r.accounts = append(r.accounts, account{name: "sshd", process: p})
	}
	r.accounts = append(r.accounts, account{name: "client", process: w.process})
	b.runners = append(b.runners, r)
	return nil
}

// subfolder creates a folder that the run user can pass through.
func subfolder(folder, name string) (string, error) {
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(path, 0o711); err != nil {
		return "", fmt.Errorf("cannot create a folder: %w", err)
	}
	return path, nil
}

func (b *bench) stop() {
	for _, w := range b.workers {
		w.stop()
	}
	if b.openssh != nil {
		b.openssh.stop()
	}
	if b.webhook != nil {
		b.webhook.stop()
	}
	b.daemon.stop()
}
