package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// New returns the first configuration of an installation. It is valid TOML, and a POSIX shell can
// source it.
func New(bind []Address, key Key) ([]byte, error) {
	secret, err := quoteShared("SECRET_KEY", string(key))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "# Configuration of DataFlux Func Sidecar. "+
		"All keys: man 5 dataflux-func-sidecar\n"+
		"# "+afterChange+"\n"+
		"BIND=\"%s\"\n"+
		"SECRET_KEY=%s\n", JoinBind(bind), secret), nil
}

// afterChange is a comment of each configuration that this program writes.
const afterChange = "After a change run: " + Apply

// Has reports whether a file sets a key to anything but the empty text.
func Has(name string, data []byte, key string) (bool, error) {
	doc, err := decode(name, data)
	if err != nil {
		return false, err
	}
	value, found := doc.values[key]
	return found && value != "", nil
}

// Set replaces the value of one key and keeps every other byte. SECRET_KEY may be an array of one
// text. A missing key gets a line at the end of the top level: below the first [table] it would
// belong to that table. Set returns an error for a value that is not a text on a single line.
func Set(name string, data []byte, key, value string) ([]byte, error) {
	doc, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	quoted, err := quoteShared(key, value)
	if err != nil {
		return nil, err
	}
	if _, found := doc.values[key]; !found {
		end := doc.topEnd()
		return append(appendLine(data[:end], key+"="+quoted), data[end:]...), nil
	}
	at := doc.entry(key)
	if key == "SECRET_KEY" && len(at.items) == 1 { // after DropKey
		return splice(data, at.items[0], quoted), nil
	}
	if len(at.items) > 1 {
		return nil, doc.errorAt(key, fmt.Errorf("%s is not one text on one line, so it is left "+
			"alone: edit it by hand, or use configure --add-key and --drop-key", key))
	}
	if !at.text {
		return nil, doc.errorAt(key, fmt.Errorf("%s is not one text on one line, so it is left "+
			"alone: edit it by hand", key))
	}
	return splice(data, span{at.valueStart, at.valueEnd}, quoted), nil
}

// AddKey adds a key to those of SECRET_KEY, as the last one, and keeps every other byte.
func AddKey(name string, data []byte, key Key) ([]byte, error) {
	doc, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	quoted, err := quoteShared("SECRET_KEY", string(key))
	if err != nil {
		return nil, err
	}
	at := doc.entry("SECRET_KEY")
	if n := len(at.items); n > 0 {
		return splice(data, span{at.items[n-1].end, at.items[n-1].end}, ","+quoted), nil
	}
	value := span{at.valueStart, at.valueEnd}
	return splice(data, value, "["+string(data[value.start:value.end])+","+quoted+"]"), nil
}

// DropKey removes a key of the array SECRET_KEY, counted from 0, and keeps every other byte, but
// for what stands between that key and the next one. The array has two keys or more.
func DropKey(name string, data []byte, n int) ([]byte, error) {
	doc, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	items := doc.entry("SECRET_KEY").items
	if n > 0 {
		return splice(data, span{items[n-1].end, items[n].end}, ""), nil
	}
	return splice(data, span{items[0].start, items[1].start}, ""), nil
}

func splice(data []byte, at span, text string) []byte {
	return slices.Concat(data[:at.start], []byte(text), data[at.end:])
}

// topEnd returns the offset at which the top level ends: the line of the first [table], or the end
// of the file.
func (d document) topEnd() int {
	for _, e := range d.entries {
		if e.header {
			return bytes.LastIndexByte(d.data[:e.keyStart], '\n') + 1
		}
	}
	return len(d.data)
}

// appendLine uses the line ends of the file.
func appendLine(data []byte, line string) []byte {
	end := "\n"
	if bytes.Contains(data, []byte("\r\n")) {
		end = "\r\n"
	}
	longer := bytes.Clone(data)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		longer = append(longer, end...)
	}
	return append(longer, line+end...)
}

func quoteShared(key, value string) (string, error) {
	if strings.ContainsFunc(value, Unprintable) {
		return "", fmt.Errorf("%s holds a line break or another invisible character: write it "+
			"without", key)
	}
	quoted, shared := Quote(value)
	if !shared {
		return "", fmt.Errorf("%s holds a single quote together with one of \" \\ $ `, which no "+
			"quoting makes the same in TOML and in a shell: choose another", key)
	}
	return quoted, nil
}

// Quote returns value as TOML; value must have no unprintable character. shared reports whether a
// POSIX shell reads the same value from it.
func Quote(value string) (quoted string, shared bool) {
	switch {
	case !strings.ContainsAny(value, "\"\\$`"):
		return `"` + value + `"`, true
	case !strings.Contains(value, "'"):
		return "'" + value + "'", true // literal in both
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`, false
}
