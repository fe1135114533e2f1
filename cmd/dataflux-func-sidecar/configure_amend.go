package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dataflux-func-sidecar/config"
)

// amend returns the file with the given values in place of its own, and takes
// the result for granted only after it has parsed as a whole: nothing is written
// that would refuse to start.
func (c *configuring) amend(data []byte) ([]byte, error) {
	data, err := c.amendBind(data)
	if err != nil {
		return nil, err
	}
	if data, err = c.amendKey(data); err != nil {
		return nil, err
	}
	if c.result, err = config.Parse(c.path, data); err != nil {
		return nil, err
	}
	return data, nil
}

func (c *configuring) amendBind(data []byte) ([]byte, error) {
	c.bindNote = "kept"
	if !c.bindGiven {
		return data, nil
	}
	set, err := config.Has(c.path, data, "BIND")
	if err != nil {
		return nil, err
	}
	if old, err := config.Parse(c.path, data); err == nil && set && slices.Equal(old.Bind, c.bind) {
		return data, nil
	}
	c.bindNote = "set"
	return config.Set(c.path, data, "BIND", config.JoinBind(c.bind))
}

func (c *configuring) amendKey(data []byte) ([]byte, error) {
	set, err := config.Has(c.path, data, "SECRET_KEY")
	if err != nil {
		return nil, err
	}
	c.keyNote = "kept"
	if c.key == nil && set {
		return data, nil
	}
	if old, err := config.Parse(c.path, data); err == nil && len(old.Keys) == 1 && bytes.Equal(old.Keys[0], c.key) {
		return data, nil
	}
	key := c.key
	c.keyNote = "set to the given one"
	if key == nil {
		key, c.keyNote = config.NewKey(), "generated"
	}
	return config.Set(c.path, data, "SECRET_KEY", string(key))
}

// writeDropIns tells systemd of BIND and ALLOW_SUDO.
func (c *configuring) writeDropIns() error {
	bindChanged, err := c.place(config.SocketDropIn(c.unitDir), config.SocketDropInText(c.result.Bind))
	if err != nil {
		return err
	}
	sudo := config.SudoDropIn(c.unitDir)
	var sudoChanged bool
	if c.result.AllowSudo {
		sudoChanged, err = c.place(sudo, config.SudoDropInText())
	} else {
		sudoChanged, err = c.remove(sudo)
	}
	if err == nil && (bindChanged || sudoChanged) && !c.quiet {
		c.note("to apply: %s", config.ApplyBind)
	}
	return err
}

// place writes a drop-in unless it is there already.
func (c *configuring) place(path string, text []byte) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return false, err
	}
	if err := config.WriteFile(path, text, 0o644); err != nil {
		return false, err
	}
	c.note("%s: written", path)
	return true, nil
}

// makeDir makes one directory for units, with its mode irrespective of the
// umask. One that is there keeps the mode it has.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory for a drop-in: %w", err)
	}
	return nil
}

// remove takes a drop-in away, and its directory if nothing else is in it.
func (c *configuring) remove(path string) (changed bool, err error) {
	err = os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot remove the drop-in: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails, as it should, where it is not empty
	c.note("%s: removed, as ALLOW_SUDO is false", path)
	return true, nil
}
