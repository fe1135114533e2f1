package check

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/firewall"
	"dataflux-func-sidecar/internal/host"
)

// checkFirewall finds a packet filter that drops connections from containers of this host to the
// addresses of BIND that are for them. It predicts, as it cannot connect as a container.
func checkFirewall(c *checker) (found []Finding) {
	bridges := host.Bridges()
	targets := forContainers(c.settings.Bind, bridges)
	if len(targets) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return []Finding{ok("the rules of a firewall were not examined: only root can read them")}
	}
	rules, err := firewall.Read()
	if err != nil {
		return []Finding{ok("the rules of a firewall were not examined: %v", err)}
	}
	manager := sync.OnceValue(firewall.FindManager)
	for _, t := range targets {
		found = append(found, judgeFirewall(rules, t.from, t.to, manager)...)
	}
	return found
}

// target is an address of this host, with the bridges from which containers look for it there.
type target struct {
	to   netip.AddrPort
	from []host.Bridge
}

// forContainers returns where containers find this host. An address of BIND is looked for from all
// bridges; for 0.0.0.0 that is the one of docker0, and those of other bridges only from their own.
func forContainers(bind []config.Address, bridges []host.Bridge) (targets []target) {
	for _, bridge := range bridges {
		for _, address := range bind {
			ip, from := address.AddrPort.Addr(), bridges
			switch {
			case ip == netip.IPv4Unspecified() && bridge.Name != "docker0":
				from = []host.Bridge{bridge}
			case ip != netip.IPv4Unspecified() && ip != bridge.Prefix.Addr():
				continue
			}
			to := netip.AddrPortFrom(bridge.Prefix.Addr(), address.AddrPort.Port())
			targets = append(targets, target{to, from})
		}
	}
	return targets
}

// judgeFirewall returns one finding about the bridges from which an address is reached, and one for
// each of the other ends.
func judgeFirewall(
	rules firewall.Rules, bridges []host.Bridge, target netip.AddrPort,
	manager func() firewall.Manager,
) (found []Finding) {
	byVerdict := map[firewall.Verdict][]string{}
	results := map[firewall.Verdict]firewall.Result{} // the first of each
	for _, bridge := range bridges {
		result := rules.Judge(firewall.Connection{
			Interface: bridge.Name, From: bridge.Container(),
			To: target.Addr(), Port: target.Port(),
		})
		if byVerdict[result.Verdict] == nil {
			results[result.Verdict] = result
		}
		byVerdict[result.Verdict] = append(byVerdict[result.Verdict], bridge.Name)
	}
	if names := byVerdict[firewall.Accepted]; names != nil {
		found = append(found, ok("no rule of %s keeps containers on %s from %s", rules.Tools(),
			strings.Join(names, ", "), target))
	}
	if names := byVerdict[firewall.Unknown]; names != nil {
		found = append(found, ok("cannot judge whether the firewall lets containers on %s reach "+
			"%s: %s", strings.Join(names, ", "), target,
			results[firewall.Unknown].Doubt))
	}
	if names := byVerdict[firewall.Dropped]; names != nil {
		origin := results[firewall.Dropped].Origin
		permit := permission(manager(), origin, names, target)
		found = append(found, warning("the firewall (%s) drops connections from containers on %s "+
			"to %s%s", origin, strings.Join(names, ", "), target, permit.note).fix(permit.command))
	}
	return found
}

// permit is a command that opens a firewall, with what else there is to say.
type permit struct{ command, note string }

// permission returns the command of the tool that manages the firewall of this host.
func permission(
	manager firewall.Manager, origin firewall.Chain, bridges []string, to netip.AddrPort,
) permit {
	switch manager {
	case firewall.UFW:
		return permit{command: eachBridge(bridges, func(name string) string {
			return fmt.Sprintf("ufw allow in on %s to %s port %d proto tcp", name, to.Addr(),
				to.Port())
		})}
	case firewall.Firewalld:
		return permit{command: eachBridge(bridges, func(name string) string {
			zone, err := firewall.Zone(name)
			if err != nil {
				zone = "public"
			}
			return fmt.Sprintf("firewall-cmd --permanent --zone=%s --add-port=%d/tcp",
				config.ShellQuote(zone), to.Port())
		}) + " && firewall-cmd --reload"}
	case firewall.NoManager:
	}
	if origin.Tool == "nft" {
		return permit{
			eachBridge(bridges, func(name string) string {
				return fmt.Sprintf("nft insert rule %s %s %s iifname %s ip daddr %s tcp dport %d "+
					"accept", origin.Family, origin.Table, origin.Name, name, to.Addr(), to.Port())
			}),
			", and the rule must also go where this host keeps its rules, such as " +
				"/etc/nftables.conf",
		}
	}
	return permit{
		eachBridge(bridges, func(name string) string {
			return fmt.Sprintf("%s -t %s -I %s -i %s -d %s -p tcp --dport %d -j ACCEPT",
				origin.Tool, origin.Table, origin.Name, name, to.Addr(), to.Port())
		}),
		", and the rule must also go where this host keeps its rules, such as " +
			"/etc/iptables/rules.v4",
	}
}

// eachBridge joins the commands for the bridges; equal ones count once.
func eachBridge(bridges []string, command func(name string) string) string {
	var commands []string
	for _, name := range bridges {
		one := command(name)
		if !slices.Contains(commands, one) {
			commands = append(commands, one)
		}
	}
	return strings.Join(commands, " && ")
}
