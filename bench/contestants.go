package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// gather starts all who take part; the daemon is already there. The loop and the daemon stand side by
// side, so that their ratio suffers least from what else the machine does.
func (b *bench) gather(folder string) error {
	b.addLimits(folder)
	b.addLoop()
	b.addDaemon()
	b.addWebhook(folder)
	b.addOpenSSH(folder)
	return b.failed
}

// startWorker keeps the first failure: without a worker there is nothing to measure.
func (b *bench) startWorker(kind, user string) *worker {
	w, err := startWorker(kind, user)
	if err != nil {
		if b.failed == nil {
			b.failed = err
		}
		return &worker{}
	}
	b.workers = append(b.workers, w)
	return w
}

func (b *bench) add(c *contestant) { b.contestants = append(b.contestants, c) }

func (b *bench) addLimits(folder string) {
	if program, err := compileVfork(folder); err != nil {
		b.report.missing("vfork in C", "", err.Error())
	} else {
		w := b.startWorker(vforkWorker, b.user)
		b.add(&contestant{name: "vfork in C", worker: w, base: order{Prefix: []string{program}}, accounts: []account{{who: "loop", process: w.process}}})
	}
	w := b.startWorker(memfdWorker, b.user)
	b.add(&contestant{name: "memfd loop", worker: w, accounts: []account{{who: "loop", process: w.process}}})
	b.addServer("loop on socket", serverWorker)
	b.addServer(separated, relayWorker)
}

// separated is the name of the loop that is in two processes, as the daemon is.
const separated = "two-process loop"

func (b *bench) addServer(name, kind string) {
	s := b.startWorker(kind, b.user)
	if b.failed != nil {
		return
	}
	listening, err := s.do(order{})
	if err != nil {
		b.failed = err
		return
	}
	b.add(&contestant{
		name: name, worker: b.client, base: order{Address: listening.Address},
		accounts: []account{{who: "loop", process: s.process}, {who: "client", process: b.client.process}},
	})
}

func (b *bench) addLoop() {
	w := b.startWorker(loopWorker, b.user)
	b.add(&contestant{name: "os/exec loop", rank: yardstick, worker: w, accounts: []account{{who: "loop", process: w.process}}})
}

func (b *bench) addDaemon() { b.add(b.asContestant(b.daemon)) }

func (b *bench) asContestant(d *daemon) *contestant {
	return &contestant{
		name: "daemon", rank: ours, worker: b.client, base: order{Address: d.address, Key: d.key}, serving: d.serving,
		accounts: []account{{who: "executor", process: d.executor}, {who: "network role", process: d.network}, {who: "client", process: b.client.process}},
	}
}

func (b *bench) addWebhook(folder string) {
	folder, err := subfolder(folder, "webhook")
	if err == nil {
		b.webhook, err = startWebhook(b.user, folder)
	}
	if err != nil {
		b.report.missing("webhook", "", err.Error())
		return
	}
	b.add(&contestant{
		name: "webhook", rank: peer, worker: b.client, serving: b.webhook.serving,
		base:     order{Address: b.webhook.address, Key: b.webhook.key, Hook: true},
		accounts: []account{{who: "webhook", process: b.webhook.serving()[0]}, {who: "client", process: b.client.process}},
	})
}

func (b *bench) addOpenSSH(folder string) {
	folder, err := subfolder(folder, "openssh")
	if err == nil {
		b.openssh, err = startOpenSSH(b.user, folder)
	}
	if err != nil {
		b.report.missing("OpenSSH", "", err.Error())
		return
	}
	w := b.startWorker(prefixWorker, "")
	c := &contestant{name: "OpenSSH", rank: peer, worker: w, base: order{Prefix: b.openssh.prefix()}, share: 4, serving: b.openssh.serving}
	for _, p := range b.openssh.serving() {
		c.accounts = append(c.accounts, account{who: "sshd", process: p})
	}
	c.accounts = append(c.accounts, account{who: "client", process: w.process})
	b.add(c)
}

// subfolder is one that the run user may pass through.
func subfolder(folder, name string) (string, error) {
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(path, 0o711); err != nil {
		return "", fmt.Errorf("cannot make a folder: %w", err)
	}
	return path, nil
}
