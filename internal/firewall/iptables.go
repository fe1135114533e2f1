package firewall

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// passedChains are the built-in chains of iptables that a packet to this host passes, by table.
func passedChains() map[string][]string {
	return map[string][]string{
		"raw": {"PREROUTING"}, "mangle": {"PREROUTING", "INPUT"}, "filter": {"INPUT"},
		"security": {"INPUT"},
	}
}

// parseIPTables parses the output of iptables-save.
func parseIPTables(text, tool string, c Connection) (bases []baseChain) {
	table, chains := "", map[string][]rule{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, chains = line[1:], map[string][]rule{}
		case strings.HasPrefix(line, ":"):
			fields := append(strings.Fields(line[1:]), "", "")
			chains[fields[0]] = nil
			if slices.Contains(passedChains()[table], fields[0]) {
				base := baseChain{
					Chain: Chain{Tool: tool, Table: table, Name: fields[0]}, policy: accepted,
					chains: chains,
				}
				if fields[1] == "DROP" {
					base.policy = dropped
				}
				bases = append(bases, base)
			}
		case strings.HasPrefix(line, "-A "):
			words := splitWords(line)
			r := c.ipTablesRule(words[2:])
			r.text = tool + " -t " + table + " " + line
			chains[words[1]] = append(chains[words[1]], r)
		}
	}
	return bases
}

// splitWords splits a line at blanks, and keeps what is in double quotes together.
func splitWords(line string) (words []string) {
	quoted, escaped := false, false
	var word strings.Builder
	for _, c := range line + " " {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteRune(c)
		}
	}
	return append(words, "", "") // a rule has a chain at least
}

// ipTablesRule parses the words of a rule after its chain. An option that it does not know makes
// the rule one that may match.
func (c Connection) ipTablesRule(words []string) rule {
	r := rule{matches: yes}
	negated := false
	for i := 0; i+1 < len(words); i++ {
		option, value := words[i], words[i+1]
		var t truth
		switch option {
		case "":
			continue
		case "!":
			negated = true
			continue
		case "-j", "-g":
			r.verdict, r.target = ipTablesTarget(option, value), value
			return r // what follows are options of the target
		case "-m", "--comment":
			i++
			continue
		case "--tcp-flags":
			t = hasSYNOnly(value, words[min(i+2, len(words)-1)])
			i++
		default:
			t = c.ipTablesMatch(option, value)
		}
		if negated {
			t, negated = t.not(), false
		}
		r.matches = min(r.matches, t)
		if !strings.HasPrefix(value, "-") {
			i++
		}
	}
	return r
}

func (c Connection) ipTablesMatch(option, value string) truth {
	switch option {
	case "-i":
		return c.arrivesOn(strings.Replace(value, "+", "*", 1))
	case "-s":
		return inPrefix(value, c.From)
	case "-d":
		return inPrefix(value, c.To)
	case "-p":
		return truthOf(value == "tcp" || value == "all")
	case "--dport", "--dports":
		return c.inPorts(value)
	case "--ctstate", "--state":
		return truthOf(slices.Contains(strings.Split(value, ","), "NEW"))
	case "--dst-type":
		return truthOf(value == "LOCAL")
	case "--src-type":
		return truthOf(value == "UNICAST")
	case "--icmp-type":
		return no
	}
	return maybe
}

// hasSYNOnly compares the flags of the first packet, of which SYN is set, with a mask and what must
// be set.
func hasSYNOnly(mask, want string) truth {
	examined := slices.Contains(strings.Split(mask, ","), "SYN") || mask == "ALL"
	return truthOf(examined && want == "SYN" || !examined && want == "NONE")
}

// inPorts is for lists of ports and ranges, such as 80,8000:8100.
func (c Connection) inPorts(list string) truth {
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, ":")
		if !isRange {
			high = low
		}
		first, err := strconv.Atoi(low)
		last, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil {
			return maybe
		}
		if first <= int(c.Port) && int(c.Port) <= last {
			return yes
		}
	}
	return no
}

func ipTablesTarget(option, name string) verdict {
	switch name {
	case "ACCEPT":
		return accept
	case "DROP", "REJECT":
		return drop
	case "RETURN":
		return back
	case "LOG", "NFLOG", "MARK", "CONNMARK", "CT", "NOTRACK", "TRACE", "SET", "TCPMSS", "AUDIT",
		"CONNSECMARK", "SECMARK", "TOS", "DSCP", "TTL", "CHECKSUM", "CLASSIFY":
		return next
	case "NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "TARPIT":
		return unjudged
	}
	if option == "-g" {
		return goTo
	}
	return jump
}

// arrivesOn compares the interface with a name that may end in *.
func (c Connection) arrivesOn(pattern string) truth {
	prefix, isPattern := strings.CutSuffix(pattern, "*")
	return truthOf(pattern == c.Interface || isPattern && strings.HasPrefix(c.Interface, prefix))
}

// inPrefix is for one address, with or without the length of a prefix.
func inPrefix(text string, ip netip.Addr) truth {
	if address, err := netip.ParseAddr(text); err == nil {
		return truthOf(address == ip)
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return maybe
	}
	return truthOf(prefix.Contains(ip))
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}
