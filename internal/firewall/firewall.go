// Package firewall predicts what the packet filter of this host does to a new connection, from what
// nft and iptables-save list. It changes nothing.
//
// firewall.go has the question and the answer, chain.go walks through chains, nft.go and
// iptables.go turn the listings into chains, tools.go runs the tools.
package firewall

import (
	"net/netip"
)

// Connection is the first packet of a TCP connection over IPv4 to an address of this host.
type Connection struct {
	Interface string // on which it arrives
	From, To  netip.Addr
	Port      uint16
}

// Verdict is what happens to a connection.
type Verdict int

// The verdicts. A rejected connection counts as dropped.
const (
	Accepted Verdict = iota
	Dropped
	Unknown
)

// Result is a verdict with its origin.
type Result struct {
	Verdict Verdict
	Origin  Chain  // of Dropped: the base chain that drops
	Doubt   string // of Unknown: the rule that cannot be judged
}

// Chain names a base chain.
type Chain struct {
	Tool   string // nft, iptables or iptables-legacy
	Family string // of nft: ip or inet
	Table  string
	Name   string
}

func (c Chain) String() string {
	if c.Family != "" {
		return c.Tool + " chain " + c.Family + " " + c.Table + " " + c.Name
	}
	return c.Tool + " chain " + c.Name + " of table " + c.Table
}

// Judge predicts the end of a connection. A packet passes every base chain on its way, so one that
// certainly drops it decides.
func (r Rules) Judge(c Connection) (result Result) {
	var bases []baseChain
	if r.nft != nil {
		bases = append(bases, parseNFT(r.nft, c, len(r.tables) > 0)...)
	}
	for _, t := range r.tables {
		bases = append(bases, parseIPTables(t.text, t.tool, c)...)
	}
	for _, base := range bases {
		outcomes, doubt := base.judge()
		switch {
		case outcomes == dropped:
			return Result{Verdict: Dropped, Origin: base.Chain}
		case outcomes != accepted && result.Verdict == Accepted:
			result = Result{Verdict: Unknown, Doubt: doubt}
		}
	}
	return result
}
