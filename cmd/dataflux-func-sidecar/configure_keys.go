package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/sign"
)

// keyOptions are what the command line asks for about keys.
type keyOptions struct {
	addKey  bool   // to SECRET_KEY, or with named.name that one
	dropKey string // first or last; empty: none
	named   namedKeyOptions
}

// namedKeyOptions are about the key of one name.
type namedKeyOptions struct {
	edits []string // the options that ask for a change of a named key: one at most, after check
	name  string
	text  config.NamedKeyText
	lines []string // the options that are for a new key only
	// public: there is --public-key
	public bool
}

// The options that change a named key.
const (
	optionAdd     = "--add-key"
	optionRotate  = "--rotate-key"
	optionDropOld = "--drop-old-secret"
	optionDrop    = "--drop-key"
)

func (o *keyOptions) registerKeys(flags *flag.FlagSet) {
	n := &o.named
	flags.BoolVar(&o.addKey, "add-key", false, "with a `[NAME]`, add a key of that name; without, "+
		"add a secret to SECRET_KEY. It is generated and printed unless you give it")
	flags.Func("actions", "`NAMES` of the actions that a new key may run, separated by commas; "+
		"empty: none (default: any command)", n.setActions)
	flags.Func("from", "`NETWORKS` from where a new key may be used, separated by commas; unix: "+
		"Unix sockets (default: anywhere)", n.setFrom)
	flags.Func("expires", "last `DATE` of a new key, such as 2027-06-30, or a time "+
		"(default: never)", n.setExpires)
	flags.Func("jobs", "the jobs that a new key sees and may cancel, `own|all` (default: own)",
		n.setJobs)
	flags.Func("public-key", "the `PUBLIC_KEY` of the callers of a new key, as `keys new` prints "+
		"it, instead of a generated secret; with --rotate-key the next one", n.setPublic)
	flags.Func("rotate-key", "put a new secret, or the one of --public-key, before that of the "+
		"key `NAME`; both are accepted", n.change(optionRotate))
	flags.Func("drop-old-secret", "end the rotation of the key `NAME`: remove its old secret, or "+
		"its old public key", n.change(optionDropOld))
	flags.Func("drop-key", "remove the key `NAME`; first or last: that secret of SECRET_KEY, as "+
		"they stand in the file", o.setDropKey)
}

// takeNameToAdd takes the NAME after --add-key out of the arguments. Package flag has no option
// with a value that may be left out.
func (o *keyOptions) takeNameToAdd(args []string) []string {
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		option := "--" + strings.TrimLeft(arg, "-") // one dash is enough
		name, found := strings.CutPrefix(option, optionAdd+"=")
		switch {
		case arg == "--":
			return args
		case option == optionAdd:
			if i+1 == len(args) || strings.HasPrefix(args[i+1], "-") {
				return args
			}
			return o.named.add(args[:i], args[i+1], args[i+2:])
		case found:
			if _, err := strconv.ParseBool(name); err == nil {
				return args // as any option without a value
			}
			return o.named.add(args[:i], name, args[i+1:])
		}
	}
	return args
}

// add notes the name, and returns the arguments without it.
func (n *namedKeyOptions) add(before []string, name string, after []string) []string {
	n.edits, n.name = append(n.edits, optionAdd), name
	return append(append(before[:len(before):len(before)], optionAdd), after...)
}

func (n *namedKeyOptions) change(option string) func(string) error {
	return func(name string) error {
		n.edits, n.name = append(n.edits, option), name
		return nil // check looks at the name: this error would repeat it, and it may be a secret
	}
}

func (o *keyOptions) setDropKey(value string) error {
	if value == "first" || value == "last" {
		o.dropKey = value
		return nil
	}
	return o.named.change(optionDrop)(value)
}

// setPublic repeats no text, which may be a private key.
func (n *namedKeyOptions) setPublic(value string) error {
	n.text.Public, n.public = value, true
	return nil
}

func (n *namedKeyOptions) setActions(value string) error {
	n.lines, n.text.Actions = append(n.lines, "--actions"), splitList(value)
	for _, action := range n.text.Actions {
		if !config.IsName(action) {
			return errors.New("write names of actions, separated by commas")
		}
	}
	return nil
}

func (n *namedKeyOptions) setFrom(value string) error {
	n.lines, n.text.From = append(n.lines, "--from"), splitList(value)
	if len(n.text.From) == 0 {
		return errEmpty
	}
	var list []any
	for _, entry := range n.text.From {
		list = append(list, entry)
	}
	_, err := config.KeyWith("FROM", list)
	return err
}

func (n *namedKeyOptions) setExpires(value string) error {
	n.lines, n.text.Expires = append(n.lines, "--expires"), value
	key, err := config.KeyWith("EXPIRES", value)
	if err == nil && !time.Now().Before(key.Expires) {
		err = errors.New("is over: give a date to come")
	}
	return err
}

func (n *namedKeyOptions) setJobs(value string) error {
	n.lines, n.text.Jobs = append(n.lines, "--jobs"), value
	_, err := config.KeyWith("JOBS", value)
	return err
}

// splitList returns the entries between commas, without blanks around them. It never returns nil.
func splitList(text string) []string {
	entries := []string{}
	if strings.TrimSpace(text) == "" {
		return entries
	}
	for entry := range strings.SplitSeq(text, ",") {
		entries = append(entries, strings.TrimSpace(entry))
	}
	return entries
}

// check returns an error for options that do not go together.
func (o *keyOptions) check() error {
	n := &o.named
	if n.public {
		if _, err := sign.ParsePublicKey(n.text.Public); err != nil {
			return fmt.Errorf("--public-key %w", err)
		}
	}
	ofSecretKey := o.dropKey != "" || o.addKey && !n.asksFor(optionAdd)
	switch {
	case len(n.edits) > 1 || len(n.edits) > 0 && ofSecretKey:
		return errors.New("change one key at a time: give one of --add-key, --rotate-key, " +
			"--drop-old-secret and --drop-key")
	case n.public && !n.asksFor(optionAdd) && !n.asksFor(optionRotate):
		return errors.New("--public-key is for a new key or a rotation: write --add-key NAME or " +
			"--rotate-key NAME as well")
	case len(n.lines) > 0 && !n.asksFor(optionAdd):
		return fmt.Errorf("%s is for a new key: write --add-key NAME as well", n.lines[0])
	case n.asksFor(optionAdd):
		if err := config.CheckKeyName(n.name); err != nil {
			return fmt.Errorf("--add-key: %w; hint: a secret of yours is given with "+
				"--secret-key-stdin", err)
		}
	case n.asksFor(optionDrop) && !config.IsName(n.name):
		return errors.New("--drop-key: write first or last, as the keys stand in the file, or " +
			"the name of a key")
	case len(n.edits) > 0 && !config.IsName(n.name):
		return fmt.Errorf("%s: give the name of a key; hint: `dataflux-func-sidecar keys` lists "+
			"them", n.edits[0])
	}
	return nil
}

func (n *namedKeyOptions) asksFor(option string) bool {
	return len(n.edits) > 0 && n.edits[0] == option
}

// amendKey returns the file with what is asked for about keys.
func (c *configurer) amendKey(data []byte) ([]byte, error) {
	set, err := config.Has(c.path, data, "SECRET_KEY")
	if err != nil {
		return nil, err
	}
	c.keyNote = "kept"
	if !set {
		c.keyNote = "none, as there are named keys"
	}
	switch {
	case len(c.named.edits) > 0:
		return c.changeNamedKey(data)
	case set && (c.addKey || c.dropKey != ""):
		return c.rotateKeys(data)
	case c.dropKey != "":
		return nil, errors.New("SECRET_KEY holds no key to drop; hint: leave --drop-key out")
	case c.key == nil && !c.addKey && (set || c.hasNamedKeys(data)):
		return data, nil
	}
	old, err := config.Parse(c.path, data)
	if err == nil && len(old.Keys) == 1 && bytes.Equal(old.Keys[0], c.key) {
		return data, nil
	}
	key := c.key
	c.keyNote = "set to the given one"
	if key == nil {
		key, c.keyNote = config.NewKey(), "generated"
		if c.addKey {
			c.added = key
		}
	}
	return config.Set(c.path, data, "SECRET_KEY", string(key))
}

// hasNamedKeys reports whether the file has tables [KEY.x], and so needs no SECRET_KEY.
func (c *configurer) hasNamedKeys(data []byte) bool {
	has, err := config.Has(c.path, data, "KEY")
	return has && err == nil
}

// changeNamedKey carries out the one change that is asked for.
func (c *configurer) changeNamedKey(data []byte) (changed []byte, err error) {
	n := &c.named
	secret, how := c.key, "the given secret"
	switch {
	case n.public && secret == nil:
		how = "the given public key"
	case n.public:
		how = "the given secret and public key"
	case secret == nil:
		secret, how = config.NewKey(), "a generated secret"
	}
	switch option := n.edits[0]; {
	case option == optionAdd:
		n.text.Secret, c.namedNote = secret, "added, with "+how
		if n.text.Actions == nil {
			c.namedNote += "; it may run any command, as --actions is not given"
		}
		changed, err = config.AddNamedKey(c.path, data, n.name, n.text)
	case option == optionRotate && n.public && secret != nil:
		return nil, errors.New("--rotate-key rotates a secret or a public key: give one of them")
	case option == optionRotate && n.public:
		c.namedNote = "added " + how + " before the one that it has"
		changed, err = config.RotatePublicKey(c.path, data, n.name, n.text.Public)
	case option == optionRotate:
		c.namedNote = "added " + how + " before the one that it has"
		changed, err = config.RotateNamedKey(c.path, data, n.name, secret)
	case c.key != nil:
		return nil, fmt.Errorf("%s needs no secret; hint: leave --secret-key-stdin out", option)
	case option == optionDropOld:
		c.namedNote = "ended the rotation, so only the first one is accepted"
		return config.DropOldSecret(c.path, data, n.name)
	default:
		c.namedNote = "removed"
		return c.dropNamedKey(data)
	}
	if c.key == nil { // none with --public-key
		c.added = secret
	}
	return changed, err
}

// dropNamedKey removes a key, unless it is the only one.
func (c *configurer) dropNamedKey(data []byte) ([]byte, error) {
	set, err := config.Has(c.path, data, "SECRET_KEY")
	if err != nil {
		return nil, err
	}
	changed, err := config.DropNamedKey(c.path, data, c.named.name)
	if err == nil && !set && !c.hasNamedKeys(changed) {
		return nil, errors.New("it is the only key, and no call is accepted without; hint: add " +
			"another one first")
	}
	return changed, err
}

// rotateKeys adds a key as the last one, or removes the first or the last of those that were there,
// or both.
func (c *configurer) rotateKeys(data []byte) ([]byte, error) {
	present, err := config.Parse(c.path, data)
	if err != nil {
		return nil, err
	}
	before := len(present.Keys)
	if c.addKey {
		if data, err = c.addTo(data, before); err != nil {
			return nil, err
		}
	}
	switch {
	case c.dropKey == "":
		return data, nil
	case c.key != nil && !c.addKey:
		return nil, errors.New("--drop-key needs no key; hint: to replace one, use --add-key too")
	case before == 1 && !c.addKey:
		return nil, errors.New("SECRET_KEY holds only one key, and no call is accepted without; " +
			"hint: to replace it, use --add-key too")
	}
	index := 0
	if c.dropKey == "last" {
		index = before - 1
	}
	dropped := fmt.Sprintf("removed the %s of %d", c.dropKey, before)
	if c.addKey {
		dropped = c.keyNote + "; " + dropped
	}
	c.keyNote = dropped
	return config.DropKey(c.path, data, index)
}

// addTo adds the given key, or a generated one.
func (c *configurer) addTo(data []byte, before int) ([]byte, error) {
	key, how := c.key, "the given"
	if key == nil {
		key, how = config.NewKey(), "a generated"
		c.added = key
	}
	c.keyNote = fmt.Sprintf("added %s one, as the last of %d", how, before+1)
	return config.AddKey(c.path, data, key)
}

// warnOfKeys warns of secrets that look weak or mistaken.
func (c *configurer) warnOfKeys() {
	for _, secret := range c.result.Secrets() {
		what := "a Secret Key"
		if secret.Name != policy.DefaultKey {
			what = "a secret of [KEY." + secret.Name + "]"
		}
		if len(secret.Key) < config.ShortKey {
			c.warn("%s has fewer than %d bytes: a longer one is harder to guess", what,
				config.ShortKey)
		}
		if doubt := secret.Key.Doubt(); doubt != "" {
			c.warn("%s %s: compare it with the one in DataFlux Func", what, doubt)
		}
	}
}

// firstKey is the key for the summary.
func firstKey(c config.Config) string {
	if len(c.Keys) == 0 {
		return "(none: each caller has a key of its own)"
	}
	return string(c.Keys[0])
}

// tellKey prints a key that was generated, and says what is next. path is the one of the command
// line.
func (c *configurer) tellKey(stdout io.Writer, path string) {
	if c.added != nil {
		fmt.Fprintf(stdout, "Secret Key:\n    %s\n", string(c.added))
	}
	command := "dataflux-func-sidecar configure"
	if path != defaultConfig {
		command += " --config " + config.ShellQuote(path)
	}
	apply := " --apply"
	if c.unitDir != defaultUnitDir {
		apply = "" // no installed service reads this file
	}
	changed := c.addKey || c.dropKey != "" || len(c.named.edits) > 0
	if changed && !c.apply && apply != "" {
		c.note("to apply: %s", config.Apply)
	}
	switch {
	case c.named.asksFor(optionAdd) && c.named.public:
		c.note("Next: holders of the private key call this host by an address or name of its own " +
			"(SIGNED_HOSTS)")
	case c.named.asksFor(optionRotate) && c.named.public:
		c.note("Next: give all callers the new private key. Until then both are accepted. "+
			"Afterwards remove the old public key, as root: %s --drop-old-secret %s%s", command,
			c.named.name, apply)
	case c.named.asksFor(optionAdd):
		c.note("Next: set this key as the Secret Key of a connector in DataFlux Func, or give it " +
			"to another caller")
	case c.named.asksFor(optionRotate):
		c.note("Next: set this key in DataFlux Func and in every other caller with the key %s. "+
			"Until then both secrets are accepted; callbacks of its jobs are signed with the new "+
			"one. Afterwards remove the old one, as root: %s --drop-old-secret %s%s",
			c.named.name, command, c.named.name, apply)
	case c.addKey && len(c.result.Keys) > 1:
		c.note("Next: set this key in DataFlux Func and in every other caller. Until then both "+
			"are accepted, and callbacks are signed with the first. Afterwards remove the first, "+
			"as root: %s --drop-key first%s", command, apply)
	}
}
