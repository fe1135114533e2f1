package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

// writeDropIns tells systemd the addresses of BIND, and the time of a stop. It also removes what a
// former release told systemd of ALLOW_SUDO, which has an effect without a drop-in now.
func (c *configurer) writeDropIns() error {
	changed, err := c.place(config.SocketDropIn(c.unitDir), config.SocketDropInText(c.result.Bind))
	if err != nil {
		return err
	}
	stopChanged, err := c.placeStopTimeout()
	if err != nil {
		return err
	}
	// install.sh, which prints the summary, applies it by itself.
	if (changed || stopChanged) && !c.printSummary && !c.apply {
		c.note("to apply: %s", config.Apply)
	}
	_, err = c.remove(config.FormerSudoDropIn(c.unitDir), config.IsFormerSudoDropIn)
	return err
}

// placeStopTimeout raises TimeoutStopSec= of the service if a stop may take longer than the unit
// as installed permits, and else removes what it wrote before.
func (c *configurer) placeStopTimeout() (changed bool, err error) {
	path := config.StopDropIn(c.unitDir)
	if c.result.StopTime() < units.StopTimeout {
		return c.remove(path, config.IsStopDropIn)
	}
	return c.place(path, config.StopDropInText(c.result))
}

// place writes a drop-in unless the same is there already.
func (c *configurer) place(path string, text []byte) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := makeDropInDir(filepath.Dir(path)); err != nil {
		return false, err
	}
	if err := config.WriteFile(path, text, 0o644); err != nil {
		return false, err
	}
	c.note("%s: written", path)
	return true, nil
}

// makeDropInDir makes a directory of mode 0755 under any umask. An existing one keeps its mode.
func makeDropInDir(dir string) error {
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

// remove removes a drop-in that this program wrote, and its directory if it is empty then. A file
// of that name that an administrator wrote stays.
func (c *configurer) remove(path string, isOurs func([]byte) bool) (removed bool, err error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false, nil
	}
	text, err := os.ReadFile(path)
	if err != nil || !isOurs(text) {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("cannot remove a drop-in that is no longer needed: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails if it is not empty
	c.note("%s: removed, as it is no longer needed", path)
	return true, nil
}
