package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// fact is a row of the table: a situation, and what each contender does in it.
type fact struct {
	situation string
	answers   [3]string // of the daemon, webhook and OpenSSH
}

// facts has the contenders with keys that may run anything, and with keys that may run `hello`
// alone. It measures what they do, not how fast.
type facts struct {
	folder, limitedKey string
	daemon             *daemon
	webhook            *webhook
	openssh            *openssh
	all                [3]contender
	rows               []fact
}

// factsOnly tries all situations and writes the table of why-not.md.
func (b *bench) factsOnly(folder string) error {
	f := &facts{folder: filepath.Join(folder, "effects"), limitedKey: rand.Text()}
	defer f.stop()
	if err := f.start(b.program, b.user, folder); err != nil {
		return err
	}
	for _, try := range []func() error{
		f.replays, f.brokenConnection, f.commandInLog, f.otherCommand, f.valueOutsidePattern, f.forwarding,
		f.keyInMemory,
	} {
		if err := try(); err != nil {
			return fmt.Errorf("%w\n%s", err, f.daemon.logTail())
		}
	}
	b.report.end()
	table := f.table() + fmt.Sprintf(
		"\nTried %s with %s.\n", b.report.began.UTC().Format("2006-01-02 15:04 UTC"), b.report.build,
	)
	fmt.Print(table)
	if b.docs == "" || b.quick {
		return nil
	}
	return replaceTable(filepath.Join(b.docs, whyNot), "facts", table)
}

func (f *facts) start(program, user, folder string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("cannot compare: only root can start OpenSSH's server for another user")
	}
	if err := os.Mkdir(f.folder, 0o777); err != nil {
		return fmt.Errorf("cannot create a folder: %w", err)
	}
	if err := os.Chmod(f.folder, 0o777); err != nil { // commands of the run user write to it
		return fmt.Errorf("cannot create a folder: %w", err)
	}
	if f.daemon, err = startDaemon(
		program, user, filepath.Join(folder, "daemon"),
		"[ACTION.hello]", `RUN = 'echo "hello $VERSION"'`, `ENVS = { VERSION = 'v[0-9.]+' }`,
		"[KEY.limited]", fmt.Sprintf("SECRET = %q", f.limitedKey), `ACTIONS = ["hello"]`,
	); err != nil {
		return err
	}
	sub, err := subfolder(folder, "webhook")
	if err != nil {
		return err
	}
	if f.webhook, err = startWebhook(user, sub, "-verbose"); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	if sub, err = subfolder(folder, "openssh"); err != nil {
		return err
	}
	if f.openssh, err = startOpenSSH(user, sub, "VERBOSE"); err != nil {
		return fmt.Errorf("OpenSSH: %w", err)
	}
	f.all = [3]contender{f.daemon.contender(), f.webhook.contender(), f.openssh.contender(f.openssh.address)}
	return nil
}

func (f *facts) stop() {
	if f.openssh != nil {
		f.openssh.stop()
	}
	if f.webhook != nil {
		f.webhook.stop()
	}
	f.daemon.stop()
}

// each adds a row with the answer of each contender.
func (f *facts) each(situation string, answer func(c contender) (string, error)) error {
	row := fact{situation: situation}
	for i, c := range f.all {
		var err error
		if row.answers[i], err = answer(c); err != nil {
			return fmt.Errorf("%s, %s: %w", c.name, situation, err)
		}
	}
	f.rows = append(f.rows, row)
	return nil
}

// file is where the commands of one situation leave lines.
func (f *facts) file(c contender, situation string) string {
	return filepath.Join(f.folder, c.name+"-"+situation)
}

func linesIn(path string) int {
	text, _ := os.ReadFile(path)
	return bytes.Count(text, []byte("\n"))
}

func (f *facts) replays() error {
	listened := fact{situation: "a listener on the connection, without TLS, reads the command"}
	n := 0
	err := f.each("the bytes of a recorded call are sent again", func(c contender) (string, error) {
		effect := f.file(c, "replay")
		proxy, err := startRecorder(c.address)
		if err != nil {
			return "", err
		}
		if _, err := c.run(proxy.address(), "echo ran >>"+effect); err != nil {
			return "", err
		}
		recorded, err := proxy.recorded()
		if err != nil {
			return "", err
		}
		listened.answers[n] = yesOrNo(bytes.Contains(recorded, []byte("echo ran")))
		n++
		answer := strings.TrimPrefix(replay(c.address, recorded), "HTTP/1.1 ")
		switch ran := linesIn(effect); {
		case ran > 1:
			return "**the command runs again** (" + answer + ")", nil
		case ran == 0:
			return "", errors.New("the recorded call itself did not run")
		case c.name == "OpenSSH":
			return "refused", nil
		}
		return "refused (" + answer + ")", nil
	})
	f.rows = append(f.rows, listened)
	return err
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// brokenConnection breaks the connection of a call while its command runs, and repeats the call.
func (f *facts) brokenConnection() error {
	kept := fact{situation: "the output of the first run can be read afterwards"}
	n := 0
	err := f.each("the connection breaks while a command runs, and the caller repeats the call", func(c contender) (string, error) {
		r, err := f.repeat(c)
		if err != nil {
			return "", err
		}
		if kept.answers[n], err = f.outputAfterwards(c, r); err != nil {
			return "", err
		}
		n++
		if c.name != "daemon" {
			return fmt.Sprintf("**the command runs %d times**", r.ran), nil
		}
		if r.ran != 1 || !strings.Contains(r.answer, r.said) {
			return "", fmt.Errorf("the command ran %d times, and the caller got %q", r.ran, r.answer)
		}
		without, err := f.repeat(f.daemon.contenderWithoutIDs())
		return fmt.Sprintf(
			"runs once, and the caller gets its output, if the call has a `jobId`; **%d times** without", without.ran,
		), err
	})
	f.rows = append(f.rows, kept)
	return err
}

// repeated is a command that was asked for twice, as its first call was aborted.
type repeated struct {
	command, said string // said is in the output of each run, followed by its process id
	ran           int
	answer        string // to the second call
}

func (f *facts) repeat(c contender) (r repeated, err error) {
	r.said = "said-" + rand.Text()
	effect, proceed := f.file(c, "broken"), f.file(c, "proceed")
	r.command = fmt.Sprintf("echo ran >>%s; until [ -e %s ]; do sleep 0.02; done; echo %s-$$", effect, proceed, r.said)
	first, err := c.begin(c.address, r.command)
	if err != nil {
		return r, err
	}
	if err := await(func() error { return wantLines(effect, 1) }); err != nil {
		return r, err
	}
	first.abort()
	if err := os.WriteFile(proceed, nil, 0o644); err != nil {
		return r, fmt.Errorf("cannot let the command proceed: %w", err)
	}
	r.answer, err = c.run(c.address, r.command)
	r.ran = linesIn(effect)
	return r, err
}

func wantLines(path string, want int) error {
	if got := linesIn(path); got < want {
		return fmt.Errorf("the command did not begin: %d lines, want %d", got, want)
	}
	return nil
}

// outputAfterwards says where the output of the first of the runs can be found.
func (f *facts) outputAfterwards(c contender, r repeated) (string, error) {
	if c.name == "daemon" {
		job, err := f.daemon.job(jobID(r.command))
		if err != nil || !strings.Contains(job, r.said) {
			return "no", err
		}
		return "yes: `GET /jobs/ID`, or `logs ID`", nil
	}
	found := func() int {
		log, _ := os.ReadFile(c.log)
		outputs := make(map[string]bool)
		for _, m := range regexp.MustCompile(r.said+`-[0-9]+`).FindAllString(string(log), -1) {
			outputs[m] = true
		}
		return len(outputs)
	}
	// The log may follow the answer.
	for deadline := time.Now().Add(time.Second); found() < r.ran && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if found() < r.ran {
		return "not in its log", nil
	}
	return "in its log (`-verbose`)", nil
}

func (f *facts) commandInLog() error {
	return f.each("the log has the text of each command", func(c contender) (string, error) {
		said := "echo logged-" + rand.Text()
		if _, err := c.run(c.address, said); err != nil {
			return "", err
		}
		log, err := os.ReadFile(c.log)
		if err != nil {
			return "", fmt.Errorf("cannot read the log: %w", err)
		}
		with := map[string]string{"webhook": " (`-verbose`)", "OpenSSH": " (`LogLevel VERBOSE`)"}[c.name]
		return yesOrNo(bytes.Contains(log, []byte(said))) + with, nil
	})
}

// otherCommand tries to run a command of its own with a key that is for `hello` alone.
func (f *facts) otherCommand() error {
	return f.each("a key for one command is used for another command", func(c contender) (string, error) {
		effect := f.file(c, "other")
		command := "echo ran >>" + effect
		said := ""
		switch c.name {
		case "daemon":
			said = fmt.Sprintf("refused (%d)", statusOf(c.address, f.daemon.request(f.limitedKey, map[string]any{"command": command})))
		case "webhook":
			status := statusOf(c.address, f.webhook.request("hello", map[string]any{"command": command, "version": "v1"}))
			said = fmt.Sprintf("its hook runs instead (%d)", status)
		default:
			call, err := f.openssh.begin(c.address, "limited", command)
			if err != nil {
				return "", err
			}
			if out, err := call.wait(); err != nil || !strings.Contains(out, "hello") {
				return "", fmt.Errorf("the forced command printed %q: %w", out, err)
			}
			said = "the forced command runs instead"
		}
		if linesIn(effect) > 0 {
			return "**it runs**", nil
		}
		return said, nil
	})
}

// valueOutsidePattern gives `hello` a value that its pattern does not match.
func (f *facts) valueOutsidePattern() error {
	return f.each("the one command is given a value that does not match its pattern", func(c contender) (string, error) {
		if c.name == "OpenSSH" {
			call, err := f.openssh.begin(c.address, "limited", "$(id)")
			if err != nil {
				return "", err
			}
			out, err := call.wait()
			if strings.Contains(out, "hello $(id)") {
				return "there is no pattern: the command itself must check it", nil
			}
			return "", fmt.Errorf("the forced command printed %q: %w", out, err)
		}
		try := func(version string) int {
			if c.name == "daemon" {
				return statusOf(c.address, f.daemon.request(f.limitedKey, map[string]any{
					"command": "hello", "envs": map[string]string{"VERSION": version},
				}))
			}
			return statusOf(c.address, f.webhook.request("hello", map[string]any{"version": version}))
		}
		fits, other := try("v1.2"), try("$(id)")
		if fits != 200 {
			return "", fmt.Errorf("a value that matches was answered with %d", fits)
		}
		if other == 200 {
			return "answered with 200, and not run", nil
		}
		return fmt.Sprintf("refused (%d)", other), nil
	})
}

// forwarding asks for a connection to a third address.
func (f *facts) forwarding() error {
	return f.each("the server is asked to forward a connection to another address", func(c contender) (string, error) {
		target, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("cannot listen: %w", err)
		}
		reached := make(chan struct{}, 2)
		go func() {
			for {
				conn, err := target.Accept()
				if err != nil {
					return
				}
				reached <- struct{}{}
				_ = conn.Close()
			}
		}()
		defer func() { _ = target.Close() }()
		to := target.Addr().String()
		if c.name != "OpenSSH" {
			status := statusOf(c.address, fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to))
			if len(reached) > 0 {
				return "**forwarded**", nil
			}
			return fmt.Sprintf("not forwarded (%d)", status), nil
		}
		_, _ = f.openssh.client(c.address, "user", "-W", to, "bench").CombinedOutput()
		open := len(reached)
		_, _ = f.openssh.client(c.address, "limited", "-W", to, "bench").CombinedOutput()
		return fmt.Sprintf("forwarded with a plain key: %s; with a key that has `restrict`: %s", yesOrNo(open == 1), yesOrNo(len(reached) > open)), nil
	})
}

func (f *facts) keyInMemory() error {
	return f.each("the process that reads from the network has a key with which callers sign", func(c contender) (string, error) {
		switch c.name {
		case "daemon":
			has, err := f.daemon.network.holds(f.daemon.key)
			return yesOrNo(has), err
		case "webhook":
			has, err := process(f.webhook.command.Process.Pid).holds(f.webhook.key)
			return yesOrNo(has), err
		}
		private, err := os.ReadFile(filepath.Join(f.openssh.folder, "user"))
		if err != nil {
			return "", fmt.Errorf("cannot read the key: %w", err)
		}
		line := strings.Split(string(private), "\n")[2]
		for _, p := range f.openssh.serving() {
			if has, err := p.holds(line); err != nil || has {
				return "yes", err
			}
		}
		return "no: the server has their public halves", nil
	})
}

// table is the Markdown of all rows.
func (f *facts) table() string {
	var d strings.Builder
	version := func(name string, arguments ...string) string {
		out, _ := exec.Command(name, arguments...).CombinedOutput()
		return regexp.MustCompile(`[0-9]+\.[0-9]+[0-9.p]*`).FindString(string(out))
	}
	fmt.Fprintf(&d, "| | this daemon | webhook %s | OpenSSH %s |\n|---|---|---|---|\n", version("webhook", "-version"), version("ssh", "-V"))
	for _, r := range f.rows {
		fmt.Fprintf(&d, "| %s | %s |\n", r.situation, strings.Join(r.answers[:], " | "))
	}
	return d.String()
}
