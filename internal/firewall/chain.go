package firewall

// truth says whether a packet matches.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

// verdict is what a rule does with a packet that matches.
type verdict int

const (
	next     verdict = iota // nothing that counts here, such as a log entry
	accept                  // ends this base chain
	drop                    // ends the packet
	back                    // returns to the calling chain
	jump                    // continues in the target, and then here
	goTo                    // continues in the target, and then in the calling chain
	unjudged                // a target that this package does not know
)

// rule is a rule for one packet.
type rule struct {
	matches truth
	verdict verdict
	target  string // of jump and goTo
	text    string // for an operator
}

// outcomes is the set of possible ends.
type outcomes int

const (
	accepted outcomes = 1 << iota
	dropped
	passed // reached the end of a chain, or returned
)

// baseChain is a chain that the kernel calls, with those that it may jump to.
type baseChain struct {
	Chain
	policy outcomes
	chains map[string][]rule
}

// judge returns the possible ends of the packet without passed. The doubt is the first rule because
// of which there is more than one.
func (b baseChain) judge() (outcomes, string) {
	w := walk{chains: b.chains, known: map[string]outcomes{}}
	found := w.chain(b.Name)
	if found&passed != 0 {
		found = found&^passed | b.policy
	}
	return found, w.doubt
}

// walk keeps the outcomes of chains, so that each one is judged once.
type walk struct {
	chains map[string][]rule
	known  map[string]outcomes
	doubt  string
}

func (w *walk) chain(name string) (found outcomes) {
	if known, isKnown := w.known[name]; isKnown {
		return known
	}
	w.known[name] = passed // the kernel permits no loop
	for _, r := range w.chains[name] {
		if r.matches == no || r.verdict == next {
			continue
		}
		ends := w.ends(r)
		certain := r.matches == yes && ends != accepted|dropped|passed
		if !certain && ends != passed && w.doubt == "" {
			w.doubt = r.text
		}
		goesOn := r.verdict == jump && ends&passed != 0
		if r.verdict == jump {
			ends &^= passed
		}
		found |= ends
		if r.matches == yes && !goesOn {
			w.known[name] = found
			return found
		}
	}
	w.known[name] = found | passed
	return found | passed
}

// ends are the possible ends of a packet that matches the rule.
func (w *walk) ends(r rule) outcomes {
	switch r.verdict {
	case accept:
		return accepted
	case drop:
		return dropped
	case jump, goTo:
		if _, there := w.chains[r.target]; there {
			return w.chain(r.target)
		}
		return accepted | dropped | passed // a target that ends the walk, or does not
	case unjudged:
		return accepted | dropped | passed
	case next, back:
	}
	return passed
}
