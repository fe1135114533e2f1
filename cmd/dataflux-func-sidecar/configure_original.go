package main

import (
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/config/legacy"
)

// original is a configuration of the original Sidecar that is converted.
type original struct {
	data   []byte // as it was; nil if the file is in our form
	notes  []string
	backup string // path of the copy
}

// convertOriginal returns data in our form if it is a configuration of the original Sidecar. It
// writes and prints nothing, as the result may still be refused.
func (c *configurer) convertOriginal(data []byte) ([]byte, error) {
	if !config.IsLegacy(data) {
		return data, nil
	}
	rewritten, err := legacy.Rewrite(c.path, data)
	if err != nil {
		return nil, err
	}
	c.original = original{data: data, notes: rewritten.Notes}
	return rewritten.Data, nil
}

func (c *configurer) noteOriginal() {
	if c.original.data == nil {
		return
	}
	c.note("%s: rewritten from the original Sidecar's form; as it was: %s",
		c.path, c.original.backup)
	for _, note := range c.original.notes {
		c.note("%s: %s", c.original.backup, note)
	}
}

// warnOfShells is for a file that is valid in our form and may have served the original Sidecar,
// which let a shell read it.
func (c *configurer) warnOfShells(data []byte) {
	for _, name := range legacy.ReadDifferently(data) {
		c.warn("%s: a shell reads %s otherwise, as $, ` or \\ in double quotes are "+
			"special to it: if the original Sidecar served with this file, its value was another; "+
			"write the right one in single quotes", c.path, name)
	}
}
