package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	toolTime   = 10 * time.Second // bounds one question to a tool
	maxListing = 16 << 20         // bytes of rules
)

// Rules are the rules of this host, as its tools list them.
type Rules struct {
	nft    []byte // JSON; nil if nft is not installed
	tables []listing
}

// listing is the output of iptables-save or iptables-legacy-save.
type listing struct{ tool, text string }

// ErrNoTool says that no tool that lists the rules is installed.
var ErrNoTool = errors.New("neither nft nor iptables-save is installed")

// Read lists the rules of this host, of 16 MiB and within 10 seconds per tool at most. It needs
// root.
func Read() (r Rules, err error) {
	if r.nft, err = run("nft", "-j", "list", "ruleset"); err != nil && !isMissing(err) {
		return r, err
	}
	for _, tool := range []string{"iptables", "iptables-legacy"} {
		text, err := run(tool + "-save")
		switch {
		case isMissing(err):
			continue
		case err != nil:
			return r, err
		case len(r.tables) > 0 && string(text) == r.tables[0].text:
			continue // iptables is iptables-legacy
		}
		r.tables = append(r.tables, listing{tool, string(text)})
	}
	if r.nft == nil && len(r.tables) == 0 {
		return r, ErrNoTool
	}
	return r, nil
}

// Tools names the tools whose rules were read.
func (r Rules) Tools() string {
	var names []string
	if r.nft != nil {
		names = append(names, "nft")
	}
	for _, t := range r.tables {
		names = append(names, t.tool)
	}
	return strings.Join(names, " and ")
}

// Manager is the tool by which rules are changed on this host, so that the change lasts.
type Manager string

// The managers. Any other host has its own way.
const (
	UFW       Manager = "ufw"
	Firewalld Manager = "firewalld"
	NoManager Manager = ""
)

// FindManager asks the managers whether they are active.
func FindManager() Manager {
	if out, err := run("ufw", "status"); err == nil &&
		bytes.HasPrefix(out, []byte("Status: active")) {
		return UFW
	}
	if _, err := run("firewall-cmd", "--state"); err == nil {
		return Firewalld
	}
	return NoManager
}

// Zone returns the zone of firewalld that an interface is in.
func Zone(name string) (string, error) {
	out, err := run("firewall-cmd", "--get-zone-of-interface="+name)
	if err != nil { // it is in no zone of its own
		out, err = run("firewall-cmd", "--get-default-zone")
	}
	return string(bytes.TrimSpace(out)), err
}

func isMissing(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// run returns the standard output of a tool. The PATH of root may lack the directories of such
// tools.
func run(name string, args ...string) ([]byte, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), toolTime)
	defer stop()
	command := exec.CommandContext(ctx, path, args...)
	command.Env = []string{"LC_ALL=C", "PATH=" + searchPath} // the environment may hold a key
	var out, said limited
	command.Stdout, command.Stderr = &out, &said
	command.WaitDelay = time.Second
	err = command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s did not answer within %s", name, toolTime)
	case out.cut:
		return nil, fmt.Errorf("%s lists more than %d MiB", name, maxListing>>20)
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("%s failed (%w): %s", name, err, first)
	}
	return out.Bytes(), nil
}

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func find(name string) (string, error) {
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() &&
			info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// limited keeps the first maxListing bytes that are written to it.
type limited struct {
	bytes.Buffer
	cut bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxListing {
		l.cut = true
		return 0, io.ErrShortWrite
	}
	return l.Buffer.Write(p)
}
