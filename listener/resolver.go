package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

const resolverFile = "/etc/resolv.conf"

// nameServers resolve names where the sandbox does not let this process open resolv.conf: its rules
// name the folders that were there at the start, and the file may have become a link into another
// one since. Wider rules would open everything else there, so the executor sends the file's lines
// with each callback. Where the file can be opened, package net reads it itself.
//
// Of the options, ndots and use-vc count. Timeouts and attempts are package net's defaults.
type nameServers struct {
	servers []string // with port
	search  []string
	ndots   int
	tcp     bool
}

// parseResolver ignores what it does not know, as every resolver does.
func parseResolver(lines string) nameServers {
	n := nameServers{ndots: 1}
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if address, err := netip.ParseAddr(fields[1]); err == nil && len(n.servers) < 3 {
				n.servers = append(n.servers, net.JoinHostPort(address.String(), "53"))
			}
		case "domain":
			n.search = fields[1:2]
		case "search":
			n.search = fields[1:min(len(fields), 7)]
		case "options":
			n.setOptions(fields[1:])
		}
	}
	return n
}

func (n *nameServers) setOptions(options []string) {
	for _, option := range options {
		if value, ok := strings.CutPrefix(option, "ndots:"); ok {
			if dots, err := strconv.Atoi(value); err == nil {
				n.ndots = min(max(dots, 0), 15)
			}
		}
		n.tcp = n.tcp || slices.Contains([]string{"use-vc", "usevc", "tcp"}, option)
	}
}

// candidates returns the absolute names that a name may stand for, in the order of trying.
func (n *nameServers) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var found []string
	for _, domain := range n.search {
		if domain = strings.Trim(domain, "."); domain != "" {
			found = append(found, name+"."+domain+".")
		}
	}
	if strings.Count(name, ".") >= n.ndots {
		return append([]string{name + "."}, found...)
	}
	return append(found, name+".")
}

// dialContext connects to a host by its name, which it looks up in /etc/hosts, then with these
// servers.
func (n *nameServers) dialContext(
	ctx context.Context, dialer net.Dialer, network, host, port string,
) (net.Conn, error) {
	dialer.Resolver = hostsFileOnly()
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
	if _, isDNS := errors.AsType[*net.DNSError](err); !isDNS {
		return conn, err
	}
	if len(n.servers) == 0 {
		return nil, fmt.Errorf("cannot resolve %s: %s names no name server that can be read; "+
			"hint: make the file that it leads to, and the folders on the way, readable for all",
			host, resolverFile)
	}
	for _, name := range n.candidates(host) {
		for first := range n.servers {
			dialer.Resolver = n.resolver(first)
			conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(name, port))
			failed, isDNS := errors.AsType[*net.DNSError](err)
			if !isDNS {
				return conn, err
			}
			failed.Server = resolverFile // package net names a server that was not asked
			if failed.IsNotFound || ctx.Err() != nil {
				break
			}
		}
	}
	return nil, err
}

// hostsFileOnly asks no server.
func hostsFileOnly() *net.Resolver {
	dial := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("not in /etc/hosts")
	}
	return &net.Resolver{PreferGo: true, Dial: dial}
}

// resolver asks the servers in turn, beginning with the first. Package net asks for IPv4 and IPv6
// at the same time and retries without an answer. The address that it passes to Dial is not one of
// these servers.
func (n *nameServers) resolver(first int) *net.Resolver {
	var asked atomic.Int32
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if n.tcp {
			network = "tcp"
		}
		server := n.servers[(first+int(asked.Add(1)-1)/2)%len(n.servers)]
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}
	return &net.Resolver{PreferGo: true, Dial: dial}
}

type resolverKey struct{}

// dial is the transport's. It resolves names with the lines of the callback that ctx belongs to, if
// need be.
func (p *poster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil || p.resolverReadable() {
		return p.dialer.DialContext(ctx, network, address)
	}
	lines, _ := ctx.Value(resolverKey{}).(string)
	servers := parseResolver(lines)
	return servers.dialContext(ctx, p.dialer, network, host, port)
}

// resolverReadable is false where package net would fail to read the file and ask 127.0.0.1
// instead. For a missing file that is right.
func resolverReadable() bool {
	f, err := os.Open(resolverFile)
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	return f.Close() == nil
}
