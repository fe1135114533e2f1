package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Policy has the keys and the actions of a configuration, by name. It is not changed once it is in
// use.
type Policy struct {
	Keys    map[string]*Key
	Actions map[string]*Action
}

// New returns the policy of a configuration. The caller names every key that can sign, DefaultKey
// included if there is a SECRET_KEY.
func New(keys []Key, actions []Action) Policy {
	p := Policy{Keys: map[string]*Key{}, Actions: map[string]*Action{}}
	for _, k := range keys {
		p.Keys[k.Name] = &k
	}
	for _, a := range actions {
		p.Actions[a.Name] = &a
	}
	return p
}

// Key returns the key of that name. If there is none it returns one that may nothing, and false.
func (p Policy) Key(name string) (key *Key, known bool) {
	if key, known = p.Keys[name]; known {
		return key, true
	}
	return &noKey, false
}

// Action returns the action of that name. If there is none it returns the zero Action, and false.
func (p Policy) Action(name string) (action *Action, known bool) {
	if action, known = p.Actions[name]; known {
		return action, true
	}
	return &noAction, false
}

var (
	noKey    Key
	noAction Action
)

// Default is the key of SECRET_KEY.
func Default() Key { return Key{Name: DefaultKey, AnyCommand: true, AllJobs: true} }

// ActionsOf returns the actions that a key may run, sorted by name.
func (p Policy) ActionsOf(k *Key) (actions []*Action) {
	for _, a := range p.Actions {
		if k.MayRun(a.Name) {
			actions = append(actions, a)
		}
	}
	slices.SortFunc(actions, func(a, b *Action) int { return strings.Compare(a.Name, b.Name) })
	return actions
}

// MayRun reports whether the key may run an action.
func (k *Key) MayRun(action string) bool {
	return k.AnyCommand || slices.Contains(k.Actions, action)
}

// Sees reports whether the key may see, cancel and change the jobs of a key.
func (k *Key) Sees(owner string) bool { return k.AllJobs || k.Name == owner }

// CheckUse returns an error that may be sent to the caller if the key has expired, or if the caller
// is not in its networks: an IP address, or the zero Addr with isUnix for a Unix socket.
func (k *Key) CheckUse(now time.Time, caller netip.Addr, isUnix bool) error {
	if k.HasExpired(now) {
		return fmt.Errorf("the key %s expired at %s: ask for a new one", k.Name,
			k.Expires.UTC().Format(time.RFC3339))
	}
	if len(k.From) == 0 && !k.FromUnix || k.FromUnix && isUnix {
		return nil
	}
	caller = caller.Unmap().WithZone("")
	contains := func(n netip.Prefix) bool { return n.Contains(caller) }
	if !isUnix && slices.ContainsFunc(k.From, contains) {
		return nil
	}
	return fmt.Errorf("the key %s is accepted from %s only", k.Name, k.origins())
}

// HasExpired reports whether the key is refused at that time.
func (k *Key) HasExpired(now time.Time) bool {
	return !k.Expires.IsZero() && !now.Before(k.Expires)
}

func (k *Key) origins() string {
	var texts []string
	for _, n := range k.From {
		texts = append(texts, n.String())
	}
	if k.FromUnix {
		texts = append(texts, "Unix sockets")
	}
	return strings.Join(texts, ", ")
}

// Describe says what the key may run, as a sentence without its end.
func (k *Key) Describe() string {
	switch {
	case k.AnyCommand:
		return fmt.Sprintf("the key %s may run any command", k.Name)
	case len(k.Actions) == 0:
		return fmt.Sprintf("the key %s may run nothing", k.Name)
	case len(k.Actions) == 1:
		return fmt.Sprintf("the key %s may run the action %s", k.Name, k.Actions[0])
	}
	return fmt.Sprintf("the key %s may run the actions %s", k.Name, strings.Join(k.Actions, ", "))
}
