package config

import (
	"bytes"
	"fmt"
	"strings"
)

// New returns the first configuration of an installation. It is valid TOML, and a POSIX shell can
// source it.
func New(bind []Address, key Key) ([]byte, error) {
	secret, err := quoteShared("SECRET_KEY", string(key))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "# Configuration of DataFlux Func Sidecar.\n"+
		"# After a change of BIND run: dataflux-func-sidecar configure\n"+
		"BIND=\"%s\"\n"+
		"SECRET_KEY=%s\n", JoinBind(bind), secret), nil
}

// Has reports whether a file sets a key to anything but the empty text.
func Has(name string, data []byte, key string) (bool, error) {
	doc, err := decode(name, data)
	if err != nil {
		return false, err
	}
	value, found := doc.values[key]
	return found && value != "", nil
}

// Set replaces the value of one key and keeps every other byte. A missing key gets a line at the
// end of the top level: below the first [table] it would belong to that table. Set returns an error
// for a value that is not a text on a single line.
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
	if !at.text {
		return nil, doc.errorAt(key, fmt.Errorf("%s is not one text on one line, so it is left "+
			"alone: edit it by hand", key))
	}
	return bytes.Join([][]byte{data[:at.valueStart], data[at.valueEnd:]}, []byte(quoted)), nil
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
