package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
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
		err = errors.New("is in the past: give a later date")
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
