package config

import (
	"bytes"
	"fmt"
	"strings"
)

// New writes the first configuration of an installation, valid as TOML and as
// lines that a POSIX shell can source.
func New(bind []Address, key Key) ([]byte, error) {
	secret, err := quote("SECRET_KEY", string(key))
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	fmt.Fprintf(&file, "# Configuration of DataFlux Func Sidecar.\n"+
		"# After a change of BIND run: dataflux-func-sidecar configure\n"+
		"BIND=\"%s\"\n"+
		"SECRET_KEY=%s\n", JoinBind(bind), secret)
	return file.Bytes(), nil
}

// Has says whether a file sets a key to anything but the empty text.
func Has(name string, data []byte, key string) (bool, error) {
	doc, err := decode(name, data)
	if err != nil {
		return false, err
	}
	value, found := doc.values[key]
	return found && value != "", nil
}

// Set replaces the value of one key and keeps every other byte, or appends a
// line where the key is not there. Only a text on a single line is replaced; of
// anything else it says what to edit by hand.
func Set(name string, data []byte, key, value string) ([]byte, error) {
	doc, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	quoted, err := quote(key, value)
	if err != nil {
		return nil, err
	}
	if _, found := doc.values[key]; !found {
		return appendLine(data, key+"="+quoted), nil
	}
	place := doc.entry(key)
	if !place.text {
		return nil, doc.errorAt(key, fmt.Errorf("%s is not one text on one line, so it is left alone: edit it by hand", key))
	}
	return bytes.Join([][]byte{data[:place.valueStart], data[place.valueEnd:]}, []byte(quoted)), nil
}

// appendLine keeps the line ends that the file has.
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

// quote writes a text so that TOML and a POSIX shell read the same from it.
func quote(key, value string) (string, error) {
	if strings.ContainsFunc(value, unprintable) {
		return "", fmt.Errorf("%s holds a line break or another invisible character: write it without", key)
	}
	quoted, shared := quoteForBoth(value)
	if !shared {
		return "", fmt.Errorf("%s holds a single quote together with one of \" \\ $ `, which no quoting makes the same in TOML and in a shell: choose another", key)
	}
	return quoted, nil
}

// quoteForBoth takes double quotes where nothing inside is special to either;
// single quotes are literal in both, but cannot hold one of themselves.
func quoteForBoth(value string) (quoted string, shared bool) {
	switch {
	case !strings.ContainsAny(value, "\"\\$`"):
		return `"` + value + `"`, true
	case !strings.Contains(value, "'"):
		return "'" + value + "'", true
	}
	return "", false
}

func quoteForTOML(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
