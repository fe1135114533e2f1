package main

import (
	"errors"
	"fmt"
	"io"

	"dataflux-func-sidecar/internal/config"
)

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

// tellKey prints a key that was generated for --add-key, and says what a rotation needs next.
// path is the one of the command line.
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
	rotated := c.addKey || c.dropKey != ""
	if rotated && !c.apply && apply != "" {
		c.note("to apply: %s", config.Apply)
	}
	if c.addKey && len(c.result.Keys) > 1 {
		c.note("Next: set this key in DataFlux Func and in every other caller. Until then both "+
			"are accepted, and callbacks are signed with the first. Afterwards remove the first, "+
			"as root: %s --drop-key first%s", command, apply)
	}
}
