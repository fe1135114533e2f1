package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
)

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
	dropped := fmt.Sprintf("the %s of %d", c.dropKey, before)
	if c.addKey {
		c.keyNote = fmt.Sprintf("replaced %s by %s one, now the last", dropped, c.origin())
	} else {
		c.keyNote = "removed " + dropped
	}
	return config.DropKey(c.path, data, index)
}

// addTo adds the given key, or a generated one.
func (c *configurer) addTo(data []byte, before int) ([]byte, error) {
	c.keyNote = fmt.Sprintf("added %s one, as the last of %d", c.origin(), before+1)
	key := c.key
	if key == nil {
		key = config.NewKey()
		c.added = key
	}
	return config.AddKey(c.path, data, key)
}

// origin says where a key that is added comes from.
func (c *configurer) origin() string {
	if c.key == nil {
		return "a generated"
	}
	return "the given"
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
