package main

import (
	"fmt"

	"dataflux-func-sidecar/config"
)

// adoption is what configure does about a configuration of the original Sidecar.
type adoption struct {
	from   []byte // as the original had it; nil where the file is ours
	notes  []string
	backup string
}

// adopt returns data in our form. It writes and says nothing yet: what becomes
// of it may still be refused as a whole.
func (c *configuring) adopt(data []byte) ([]byte, error) {
	if !config.IsOriginal(data) {
		return data, nil
	}
	rewritten, err := config.Rewrite(c.path, data)
	if err != nil {
		return nil, err
	}
	c.original = adoption{from: data, notes: rewritten.Notes}
	return rewritten.Data, nil
}

// backUp keeps the original's file before ours takes its place.
func (c *configuring) backUp() (err error) {
	if c.original.from == nil {
		return nil
	}
	if c.original.backup, err = config.BackUp(c.path, c.original.from); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	return nil
}

func (c *configuring) noteAdoption() {
	if c.original.from == nil {
		return
	}
	c.note("%s: rewritten from the original Sidecar's form; as it was: %s", c.path, c.original.backup)
	for _, note := range c.original.notes {
		c.note("%s: %s", c.original.backup, note)
	}
}

// warnOfShells is for a file that may have served the original Sidecar although
// it is valid here too.
func (c *configuring) warnOfShells(data []byte) {
	for _, name := range config.ReadOtherwise(data) {
		c.note("warning: %s: a shell reads %s otherwise, as $, ` or \\ in double quotes are special to it: "+
			"if the original Sidecar served with this file, its value was another; write the right one in single quotes", c.path, name)
	}
}
