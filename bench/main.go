// Command bench measures what a call costs, and prints each figure beside what it must reach.
// `make bench` takes about six minutes and writes docs/benchmark.md and docs/benchmark.svg;
// `go run ./bench -quick` takes two for a first look, and writes nothing.
//
// It must never change the host: it starts a daemon of its own with a key of its own in a temporary
// folder, and so the peers, which it never installs. It must never decide about a build either: its
// exit status is 0 whatever it finds.
//
// How to read it. The yardstick is a bare loop in Go: os/exec runs the same commands by the same shell
// as the same user with the same environment into two bytes.Buffer, in a process of its own. Rounds of
// all who take part alternate, with the daemon right behind the loop, and each ratio compares two rounds
// of one turn, so that whatever else the machine does falls upon both; a ratio is the median of its
// rounds, and what follows it in brackets is the range of them. The client is a third process, also
// charged to the daemon, as the loop needs none: one thread of raw system calls over connections that
// stay open, with requests that were signed before the clock started. What any daemon would cost tells
// the line "loop on socket": the same loop in one process, called by the same client, without HTTP,
// signatures or journal; and what any daemon in two roles would, the "two-process loop". The other two
// limits are loops that skip what the yardstick does: in C with vfork and without output, and in Go with
// memory files instead of pipes. The daemon's journal is text in a file, and its commands have no cgroups,
// as it is started by hand; what journald and systemd's delegation take is in the cold start's figure alone.
//
// The peers are what a user would take instead. webhook checks a signature of the body and answers with
// the output, called by the same client; it remembers no nonces and writes no journal. OpenSSH has one
// connection that stays open, and a client process per command, since that is how `ssh` is used; it does
// a quarter of the commands of each round. Its memory is the server's alone.
//
// "CPU" is what /proc tells of the processes themselves, in µs per command; "commands" is what the shells
// took, which nobody can save, and with OpenSSH what its clients took. MB are millions of bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	runtime.LockOSThread() // what is started here dies with this thread
	if len(os.Args) == 2 && becomeWorker(os.Args[1]) {
		return
	}
	o := bench{report: &report{}}
	flag.BoolVar(&o.quick, "quick", false, "fewer and shorter rounds")
	flag.StringVar(&o.program, "program", "bin/dataflux-func-sidecar", "the daemon's `FILE` (make build)")
	flag.StringVar(&o.user, "user", "nobody", "the `NAME` of the user that commands run as, when started as root")
	flag.StringVar(&o.tree, "tree", "", "a Debian tree `FOLDER` with systemd to boot for the cold start (default: that of the end-to-end tests, if it is there)")
	flag.StringVar(&o.docs, "docs", "docs", "the `FOLDER` to write benchmark.md and benchmark.svg to, unless -quick; empty: none")
	flag.StringVar(&o.report.remark, "remark", "", "a `SENTENCE` for the document, such as what else the machine did")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
}

// bench is one run.
type bench struct {
	quick                     bool
	program, user, tree, docs string

	report      *report
	daemon      *daemon
	client      *worker // of all that speak HTTP
	contestants []*contestant
	workers     []*worker
	failed      error // why a worker is missing
	webhook     *webhook
	openssh     *openssh
}

func (b *bench) run() error {
	if _, err := os.Stat(b.program); err != nil {
		return fmt.Errorf("cannot find the daemon: %w: build it with `make build`", err)
	}
	folder, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("cannot measure: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chmod(folder, 0o711); err != nil { // the run user passes through
		return fmt.Errorf("cannot measure: %w", err)
	}
	b.report.begin()
	if err := b.measureDaemon(folder); err != nil {
		return err
	}
	b.measureColdStart(folder)
	b.report.end()
	if b.docs == "" || b.quick {
		return nil
	}
	return b.report.write(b.docs)
}

// measureDaemon does all that one daemon can go through in a row.
func (b *bench) measureDaemon(folder string) (err error) {
	defer b.stop()
	if b.daemon, err = startDaemon(b.program, b.user, filepath.Join(folder, "daemon")); err != nil {
		return err
	}
	b.client = b.startWorker(clientWorker, "")
	if err := b.gather(folder); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return b.idle("after the start") },
		b.compareCommands,
		b.sleepers,
		func() error { return b.largeOutputs(folder) },
		func() error { return b.growth(folder) },
		b.muchOutput,
		func() error { return b.idle("after all of the above") },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%w\n%s", err, b.daemon.lastWords())
		}
	}
	return nil
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
