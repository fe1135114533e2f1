package config

import (
	"bytes"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is the position of a key in the file, at the top level or in a table.
type entry struct {
	path     []string // the names from the top level on
	keyStart int
	// header is true where the key is that of a [table], to which the lines below belong.
	header bool
	// text is true where the value is a single text on a single line at
	// valueStart:valueEnd, the only form that Set edits.
	text                 bool
	valueStart, valueEnd int
	items                []span // of an array of texts; its end is not known
}

// span is a range of offsets.
type span struct{ start, end int }

// scan returns the entries of a valid document. The decoder returns the values without their
// positions.
func scan(data []byte) []entry {
	var parser unstable.Parser
	parser.Reset(data)
	var entries []entry
	var table []string
	for parser.NextExpression() {
		node := parser.Expression()
		if node.Kind != unstable.KeyValue {
			found := locate(&parser, node, nil)
			found.header, table = true, found.path
			entries = append(entries, found)
			continue
		}
		found := locate(&parser, node, table)
		entries = append(entries, found)
		entries = append(entries, inner(&parser, node, found.path)...)
	}
	return entries
}

// inner returns the entries of the inline tables that are the value of a node.
func inner(parser *unstable.Parser, node *unstable.Node, table []string) (entries []entry) {
	for child := node.Value().Children(); child.Next(); {
		if pair := child.Node(); pair.Kind == unstable.KeyValue {
			found := locate(parser, pair, table)
			entries = append(entries, found)
			entries = append(entries, inner(parser, pair, found.path)...)
		}
	}
	return entries
}

// locate returns the entry of a key in a table; nil is the top level.
func locate(parser *unstable.Parser, node *unstable.Node, table []string) entry {
	parts := node.Key()
	parts.Next()
	first := parts.Node()
	found := entry{
		path:     append(table[:len(table):len(table)], string(first.Data)),
		keyStart: int(first.Raw.Offset),
	}
	dotted := !parts.IsLast()
	for parts.Next() {
		found.path = append(found.path, string(parts.Node().Data))
	}
	if node.Kind != unstable.KeyValue || table != nil || dotted {
		return found
	}
	value := node.Value()
	raw := value.Raw
	found.text = value.Kind == unstable.String && !bytes.ContainsRune(parser.Raw(raw), '\n')
	found.valueStart, found.valueEnd = int(raw.Offset), int(raw.Offset+raw.Length)
	if value.Kind != unstable.Array {
		return found
	}
	for items := value.Children(); items.Next(); {
		raw := items.Node().Raw
		found.items = append(found.items, span{int(raw.Offset), int(raw.Offset + raw.Length)})
	}
	return found
}

// at returns the first entry of the longest part of a path that has one.
func (d document) at(path []string) entry {
	for n := len(path); n > 1; n-- {
		for _, e := range d.entries {
			if len(e.path) >= n && slices.Equal(e.path[:n], path[:n]) {
				return e
			}
		}
	}
	return d.entry(path[0])
}

// entry returns the first entry of a key of the top level.
func (d document) entry(name string) entry {
	for _, e := range d.entries {
		if e.path[0] == name {
			return e
		}
	}
	return entry{}
}

// position turns an offset into line and column, both counted from 1.
func position(data []byte, offset int) (row, column int) {
	before := data[:offset]
	return bytes.Count(before, []byte{'\n'}) + 1, offset - bytes.LastIndexByte(before, '\n')
}
