package firewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nftObject is one object of `nft -j list ruleset`; only one of the fields is set.
type nftObject struct {
	Chain *nftChain
	Rule  *nftRule
	Set   *nftSet
	Map   *nftSet
}

type nftChain struct{ Family, Table, Name, Type, Hook, Policy string }

type nftRule struct {
	Family, Table, Chain string
	Handle               int
	Expr                 []map[string]json.RawMessage
}

type nftSet struct {
	Family, Table, Name string
	Elem                []json.RawMessage
}

// nftParser turns one table's rules into rules for one packet.
type nftParser struct {
	Connection
	sets map[string][]json.RawMessage // by family, table and name
}

// parseNFT parses the output of `nft -j list ruleset`. skipIPTables leaves out the tables of
// iptables, whose matches nft cannot show.
func parseNFT(text []byte, c Connection, skipIPTables bool) (bases []baseChain) {
	var list struct{ NFTables []nftObject }
	if err := json.Unmarshal(text, &list); err != nil {
		return []baseChain{{chains: map[string][]rule{"": {{
			matches: yes, verdict: unjudged, text: fmt.Sprintf("the output of nft: %v", err),
		}}}}}
	}
	p := nftParser{Connection: c, sets: map[string][]json.RawMessage{}}
	tables := map[string]map[string][]rule{}
	for _, o := range list.NFTables {
		for _, set := range []*nftSet{o.Set, o.Map} {
			if set != nil {
				p.sets[key(set.Family, set.Table, set.Name)] = set.Elem
			}
		}
	}
	for _, o := range list.NFTables {
		switch {
		case o.Chain != nil:
			id := key(o.Chain.Family, o.Chain.Table)
			if tables[id] == nil {
				tables[id] = map[string][]rule{}
			}
			tables[id][o.Chain.Name] = nil
			if o.Chain.isPassed() && !(skipIPTables && o.Chain.isOfIPTables()) {
				bases = append(bases, o.Chain.base(tables[id]))
			}
		case o.Rule != nil:
			id := key(o.Rule.Family, o.Rule.Table)
			if tables[id] != nil {
				tables[id][o.Rule.Chain] = append(tables[id][o.Rule.Chain], p.rules(*o.Rule)...)
			}
		}
	}
	return bases
}

func key(parts ...string) string { return strings.Join(parts, "\x00") }

// isPassed reports whether a packet to this host passes the chain. What NAT does is not followed.
func (c *nftChain) isPassed() bool {
	return c.Type == "filter" && (c.Hook == "input" || c.Hook == "prerouting") &&
		(c.Family == "ip" || c.Family == "inet")
}

func (c *nftChain) isOfIPTables() bool {
	return c.Family == "ip" && slices.Contains(passedChains()[c.Table], c.Name)
}

func (c *nftChain) base(chains map[string][]rule) baseChain {
	base := baseChain{
		Chain:  Chain{Tool: "nft", Family: c.Family, Table: c.Table, Name: c.Name},
		policy: accepted, chains: chains,
	}
	if c.Policy == "drop" {
		base.policy = dropped
	}
	return base
}

// rules returns the rule for the packet; a verdict map becomes one rule for each of its elements.
func (p nftParser) rules(r nftRule) (rules []rule) {
	text := fmt.Sprintf("nft rule %s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
	id := key(r.Family, r.Table)
	matches := yes
	for _, statement := range r.Expr {
		for name, raw := range statement {
			if verdict, target := nftVerdict(name, raw); verdict != next {
				return append(rules, rule{matches, verdict, target, text})
			}
			switch name {
			case "match":
				matches = min(matches, p.match(id, raw))
			case "vmap":
				for _, one := range p.verdictMap(id, raw) {
					one.matches, one.text = min(one.matches, matches), text
					rules = append(rules, one)
				}
			case "counter", "log", "mangle", "notrack", "continue", "comment", "flow", "set":
			case "xt": // a match or a target of iptables
				matches = min(matches, maybe)
				rules = append(rules, rule{matches, unjudged, "", text})
			default: // limit, quota and others
				matches = min(matches, maybe)
			}
		}
	}
	return rules
}

// nftVerdict returns next for a statement that is no verdict.
func nftVerdict(name string, raw json.RawMessage) (v verdict, target string) {
	switch name {
	case "accept":
		return accept, ""
	case "drop", "reject":
		return drop, ""
	case "return":
		return back, ""
	case "queue", "tproxy", "synproxy":
		return unjudged, ""
	case "jump", "goto":
		var to struct{ Target string }
		_ = json.Unmarshal(raw, &to) // an empty target is a chain without rules
		if name == "goto" {
			return goTo, to.Target
		}
		return jump, to.Target
	}
	return next, ""
}

func (p nftParser) match(table string, raw json.RawMessage) truth {
	var m struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(raw, &m) != nil {
		return maybe
	}
	value, known := p.value(m.Left)
	switch {
	case known && value == nil:
		return no // of another protocol
	case !known:
		return maybe
	case m.Op == "==", m.Op == "in":
		return p.contains(table, m.Right, value, 0)
	case m.Op == "!=":
		return p.contains(table, m.Right, value, 0).not()
	}
	return maybe
}

// verdictMap returns a rule for each element of a map from values to verdicts.
func (p nftParser) verdictMap(table string, raw json.RawMessage) (rules []rule) {
	var m struct{ Key, Data json.RawMessage }
	var inline struct{ Set [][2]json.RawMessage }
	var name string
	if json.Unmarshal(raw, &m) != nil {
		return []rule{{matches: maybe, verdict: unjudged}}
	}
	if json.Unmarshal(m.Data, &name) == nil {
		for _, element := range p.sets[key(table, strings.TrimPrefix(name, "@"))] {
			var pair [2]json.RawMessage
			if json.Unmarshal(element, &pair) != nil {
				return []rule{{matches: maybe, verdict: unjudged}}
			}
			inline.Set = append(inline.Set, pair)
		}
	} else if json.Unmarshal(m.Data, &inline) != nil {
		return []rule{{matches: maybe, verdict: unjudged}}
	}
	value, known := p.value(m.Key)
	for _, pair := range inline.Set {
		var statement map[string]json.RawMessage
		if json.Unmarshal(pair[1], &statement) != nil {
			return []rule{{matches: maybe, verdict: unjudged}}
		}
		matches := maybe
		if known {
			matches = no
			if value != nil {
				matches = p.contains(table, pair[0], value, 0)
			}
		}
		for name, raw := range statement {
			v, target := nftVerdict(name, raw)
			rules = append(rules, rule{matches: matches, verdict: v, target: target})
		}
	}
	return rules
}

// value returns what an expression is for the packet: a string, a number or an address; nil if it
// is a field that the packet does not have.
func (p nftParser) value(raw json.RawMessage) (value any, known bool) {
	var e struct {
		And      []json.RawMessage `json:"&"`
		Meta, CT *struct{ Key string }
		Payload  *struct{ Protocol, Field string }
		Fib      *struct {
			Result string
			Flags  json.RawMessage // one or a list
		}
	}
	if json.Unmarshal(raw, &e) != nil {
		return nil, false
	}
	switch {
	case e.Meta != nil:
		value, known = map[string]any{
			"iifname": p.Interface, "iif": p.Interface, "l4proto": "tcp", "nfproto": "ipv4",
			"protocol": "ip", "pkttype": "host",
		}[e.Meta.Key]
	case e.CT != nil:
		value, known = map[string]any{
			"state": "new", "status": "none", "direction": "original",
		}[e.CT.Key]
	case e.Payload != nil:
		return p.field(e.Payload.Protocol, e.Payload.Field)
	case e.Fib != nil && e.Fib.Result == "type" &&
		strings.Trim(string(e.Fib.Flags), "[]\" \n") == "daddr":
		return "local", true
	case len(e.And) == 2: // the flags of the first packet, of which SYN is set, and a mask
		flags, isFlags := p.value(e.And[0])
		return flags, isFlags && flags == "syn" && strings.Contains(string(e.And[1]), `"syn"`)
	}
	return value, known
}

func (p nftParser) field(protocol, field string) (value any, known bool) {
	switch protocol + " " + field {
	case "ip saddr":
		return p.From, true
	case "ip daddr":
		return p.To, true
	case "ip protocol":
		return "tcp", true
	case "tcp flags":
		return "syn", true
	case "tcp dport", "th dport":
		return float64(p.Port), true
	}
	switch protocol {
	case "ip6", "udp", "udplite", "icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "ah", "arp":
		return nil, true
	}
	return nil, false
}

// maxSetDepth bounds how deep sets lie within each other.
const maxSetDepth = 8

// contains reports whether the right side of a match contains the value.
func (p nftParser) contains(table string, raw json.RawMessage, value any, depth int) truth {
	var right any
	if depth == maxSetDepth || json.Unmarshal(raw, &right) != nil {
		return maybe
	}
	switch right := right.(type) {
	case string:
		if name, isSet := strings.CutPrefix(right, "@"); isSet {
			elements, found := p.sets[key(table, name)]
			if !found {
				return maybe
			}
			return p.anyContains(table, elements, value, depth)
		}
		return p.equal(right, value)
	case float64:
		return truthOf(right == value || right == 6 && value == "tcp") // IPPROTO_TCP
	case []any:
		var elements []json.RawMessage
		_ = json.Unmarshal(raw, &elements) // it is a list
		return p.anyContains(table, elements, value, depth)
	}
	return p.inCompound(table, raw, value, depth)
}

func (p nftParser) anyContains(
	table string, elements []json.RawMessage, value any, depth int,
) (t truth) {
	for _, element := range elements {
		t = max(t, p.contains(table, element, value, depth+1))
	}
	return t
}

func (p nftParser) equal(right string, value any) truth {
	switch value := value.(type) {
	case netip.Addr:
		return inPrefix(right, value)
	case string:
		if value == p.Interface {
			return p.arrivesOn(right)
		}
		return truthOf(right == value)
	}
	return maybe
}

// inCompound is for prefixes, ranges, sets, and elements with a comment or a timeout.
func (p nftParser) inCompound(table string, raw json.RawMessage, value any, depth int) truth {
	var c struct {
		Prefix *struct {
			Addr string
			Len  int
		}
		Range *[2]any
		Set   []json.RawMessage
		Elem  *struct{ Val json.RawMessage }
	}
	if json.Unmarshal(raw, &c) != nil {
		return maybe
	}
	switch {
	case c.Prefix != nil:
		if ip, isAddr := value.(netip.Addr); isAddr {
			return inPrefix(fmt.Sprintf("%s/%d", c.Prefix.Addr, c.Prefix.Len), ip)
		}
	case c.Range != nil:
		return inRange(c.Range[0], c.Range[1], value)
	case c.Set != nil:
		return p.anyContains(table, c.Set, value, depth)
	case c.Elem != nil:
		return p.contains(table, c.Elem.Val, value, depth+1)
	}
	return maybe
}

func inRange(low, high, value any) truth {
	switch value := value.(type) {
	case float64:
		first, isFirst := low.(float64)
		last, isLast := high.(float64)
		if isFirst && isLast {
			return truthOf(first <= value && value <= last)
		}
	case netip.Addr:
		first, err := netip.ParseAddr(fmt.Sprint(low))
		last, err2 := netip.ParseAddr(fmt.Sprint(high))
		if err == nil && err2 == nil {
			return truthOf(first.Compare(value) <= 0 && value.Compare(last) <= 0)
		}
	}
	return maybe
}
