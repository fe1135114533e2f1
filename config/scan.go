package config

import (
	"bytes"

	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is where one top-level key stands in the file.
type entry struct {
	name     string
	keyStart int
	// text is true where the value is a single text on a single line at
	// valueStart:valueEnd, the only form that is ever edited.
	text                 bool
	valueStart, valueEnd int
}

// scan finds the entries of a valid document. The values come from the decoder;
// only the positions, which it does not tell, are taken from here.
func scan(data []byte) []entry {
	var parser unstable.Parser
	parser.Reset(data)
	var entries []entry
	inTable := false
	for parser.NextExpression() {
		node := parser.Expression()
		isPair := node.Kind == unstable.KeyValue
		if isPair && inTable {
			continue
		}
		inTable = inTable || !isPair
		entries = append(entries, locate(&parser, node))
	}
	return entries
}

func locate(parser *unstable.Parser, node *unstable.Node) entry {
	parts := node.Key()
	parts.Next()
	first := parts.Node()
	found := entry{name: string(first.Data), keyStart: int(first.Raw.Offset)}
	if node.Kind != unstable.KeyValue || !parts.IsLast() {
		return found
	}
	value := node.Value()
	raw := value.Raw
	found.text = value.Kind == unstable.String && !bytes.ContainsRune(parser.Raw(raw), '\n')
	found.valueStart, found.valueEnd = int(raw.Offset), int(raw.Offset+raw.Length)
	return found
}

// entry returns where a key was first mentioned.
func (d document) entry(name string) entry {
	for _, e := range d.entries {
		if e.name == name {
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
