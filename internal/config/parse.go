package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"dataflux-func-sidecar/internal/policy"
)

// MaxFile bounds a configuration file in bytes.
const MaxFile = 1 << 20

// Parse reads a configuration; name is that of the file, for messages. The error joins one error
// for each fault, in the order of the file.
//
// The document is decoded to a map and not to a struct: the library matches the fields of a struct
// in any letter case, so that `bind` and `BIND` would silently be the same key.
func Parse(name string, data []byte) (Config, error) {
	c := Default()
	doc, err := decode(name, data)
	if err == nil {
		err = doc.into(&c)
	}
	if err == nil {
		return c, nil
	}
	if IsLegacy(data) {
		err = errors.Join(err, fmt.Errorf("%s: has the form of the original Sidecar's "+
			"configuration: run dataflux-func-sidecar configure (or install.sh), which rewrites "+
			"it and keeps a backup", name))
	}
	return Config{}, err
}

// document is a file that is valid TOML. Its keys and values are not yet checked.
type document struct {
	name    string
	data    []byte
	values  map[string]any
	entries []entry
}

func decode(name string, data []byte) (document, error) {
	doc := document{name: name, data: data}
	if len(data) > MaxFile {
		return doc, fmt.Errorf("%s: is larger than %d bytes: no configuration is; "+
			"give another file", name, MaxFile)
	}
	err := toml.Unmarshal(data, &doc.values)
	if err == nil {
		doc.entries = scan(data)
		return doc, nil
	}
	broken, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return doc, fmt.Errorf("%s: is not valid TOML: write lines of the form NAME = value", name)
	}
	row, column := broken.Position()
	// The library's own message may quote the document, so it is not used.
	return doc, fmt.Errorf("%s: line %d, column %d: %s", name, row, column, explainSyntax(data,
		row))
}

// into stores every value in c. The error joins all faults.
func (d document) into(c *Config) error {
	table := settings(c)
	var faults []error
	for _, name := range d.names() {
		at := slices.IndexFunc(table, func(s setting) bool { return s.name == name })
		if at < 0 {
			faults = append(faults, d.errorAt(name, unknownKey(name)))
		} else if err := table[at].set(d.values[name]); err != nil {
			faults = append(faults, d.errorsAt(name, err)...)
		}
	}
	keys, isTable := d.values["KEY"].(map[string]any)
	named := isTable && len(keys) > 0
	for _, s := range table {
		_, found := d.values[s.name]
		if !found && s.initial == nil && !named {
			faults = append(faults, fmt.Errorf("%s: %s is missing: write %s, or run "+
				"dataflux-func-sidecar configure to generate one", d.name, s.name, s.line()))
		}
	}
	if len(faults) == 0 {
		faults = slices.Concat(d.checkTLS(c), d.checkMetrics(c), d.checkTail(c),
			d.checkKeys(c))
	}
	return errors.Join(faults...)
}

// unknownKey repeats a name only if it is close to one of ours: any other may be a misplaced
// secret.
func unknownKey(name string) error {
	if meant := Closest(name, keyNames()); meant != "" {
		return fmt.Errorf("%s is not a key of this file: did you mean %s?", name, meant)
	}
	return errors.New("this key or section is unknown: remove it, or write one of " +
		strings.Join(keyNames(), ", "))
}

// checkTLS returns the faults of keys that are valid each for itself but not together.
func (d document) checkTLS(c *Config) (faults []error) {
	fault := func(name, format string, args ...any) {
		faults = append(faults, d.errorAt(name, fmt.Errorf(name+" "+format, args...)))
	}
	switch {
	case c.TLSCertificate != "" && c.TLSKey == "":
		fault("TLS_CERTIFICATE", "is of no use without its key: write TLS_KEY as well, the path "+
			"of the private key")
	case c.TLSCertificate == "" && c.TLSKey != "":
		fault("TLS_KEY", "is of no use without its certificate: write TLS_CERTIFICATE as well, "+
			"the path of the certificate")
	case c.TLSCertificate == "" && len(c.TLSAddresses) > 0:
		fault("TLS_ADDRESSES", "needs a certificate: write TLS_CERTIFICATE and TLS_KEY as well")
	}
	for _, a := range c.TLSAddresses {
		switch {
		case a.Network == "unix":
			fault("TLS_ADDRESSES", "has the Unix socket %s, which never speaks TLS: leave it out",
				a)
		case !slices.Contains(c.Bind, a):
			fault("TLS_ADDRESSES", "has %s, which is no address of BIND: write it as it is "+
				"there, or add it there", a)
		}
	}
	return faults
}

// checkMetrics refuses addresses that BIND has too.
func (d document) checkMetrics(c *Config) (faults []error) {
	for i, a := range c.MetricsBind {
		if checkOverlap(a, c.Bind) != nil {
			faults = append(faults, d.errorAt("METRICS_BIND", fmt.Errorf("METRICS_BIND address "+
				"%d of %d is one of BIND already: write another port", i+1, len(c.MetricsBind))))
		}
	}
	return faults
}

// checkTail refuses an end of the output above half of the whole. A default above it becomes the
// half.
func (d document) checkTail(c *Config) []error {
	most := int(c.MaxOutput / 2)
	if c.OutputTail <= most {
		return nil
	}
	if _, given := d.values["OUTPUT_TAIL"]; given {
		return []error{d.errorAt("OUTPUT_TAIL", fmt.Errorf("OUTPUT_TAIL is more than half of "+
			"MAX_OUTPUT: write OUTPUT_TAIL = %d or less, or a larger MAX_OUTPUT", most))}
	}
	c.OutputTail = most
	return nil
}

// checkKeys returns the faults of keys and actions that are valid each for itself but not together.
func (d document) checkKeys(c *Config) []error {
	faults := c.equalSecrets()
	var names []string
	for _, a := range c.Actions {
		names = append(names, a.Name)
		if c.MaxQueued == 0 && (a.Concurrency == policy.Wait || a.Concurrency == policy.Replace) {
			faults = append(faults, tableError{
				[]string{"ACTION", a.Name, "ONE_AT_A_TIME"},
				fmt.Errorf("ACTION.%s: ONE_AT_A_TIME lets requests wait, which needs MAX_QUEUED: "+
					"write MAX_QUEUED = 10 above the first table", a.Name),
			})
		}
	}
	for _, k := range c.NamedKeys {
		if err := checkActions(k.Actions, names); err != nil {
			faults = append(faults, tableError{
				[]string{"KEY", k.Name, "ACTIONS"}, fmt.Errorf("KEY.%s: ACTIONS %w", k.Name, err),
			})
		}
	}
	return d.place(faults)
}

// checkActions returns an error unless all actions are among names. It repeats one only if that is
// close to a name: any other may be a misplaced secret.
func checkActions(actions, names []string) error {
	unknown := 0
	for _, action := range actions {
		if slices.Contains(names, action) {
			continue
		}
		if meant := Closest(action, names); meant != "" {
			return fmt.Errorf("has %s, and there is no such action: did you mean %s?", action,
				meant)
		}
		unknown++
	}
	switch {
	case unknown == 0:
		return nil
	case len(names) == 0:
		return errors.New("is a list of names, and there is no action: write a table " +
			"[ACTION.name] for each")
	}
	return fmt.Errorf("has %d of no action: write a table [ACTION.name] for each, or one of %s",
		unknown, strings.Join(names, ", "))
}

// names returns the keys in the order of the file.
func (d document) names() []string {
	names := make([]string, 0, len(d.values))
	for name := range d.values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a,
		b string,
	) int {
		return d.entry(a).keyStart - d.entry(b).keyStart
	})
	return names
}

// errorsAt adds the position of the key to an error, or to each error of a variable its own.
func (d document) errorsAt(name string, err error) []error {
	if inner, ofTable := errors.AsType[tableErrors](err); ofTable {
		return d.place(inner.below(name))
	}
	faults, ofVariables := errors.AsType[variableErrors](err)
	if !ofVariables {
		return []error{d.errorAt(name, err)}
	}
	faults = maps.Clone(faults)
	var placed []error
	for _, e := range d.entries {
		if len(e.path) < 2 || e.path[0] != name {
			continue
		}
		if fault := faults[e.path[1]]; fault != nil {
			placed = append(placed, d.errorAtOffset(e.keyStart, fault))
			delete(faults, e.path[1]) // an inner table has more than one entry
		}
	}
	if len(faults) > 0 {
		placed = append(placed, d.errorAt(name, fmt.Errorf("%s %w", name, faults)))
	}
	return placed
}

// place adds their positions to faults, whose paths begin at the top level, and sorts them so.
func (d document) place(faults tableErrors) []error {
	type fault struct {
		offset int
		err    error
	}
	sorted := make([]fault, len(faults))
	for i, e := range faults {
		sorted[i] = fault{d.at(e.path).keyStart, e.err}
	}
	slices.SortStableFunc(sorted, func(a, b fault) int { return a.offset - b.offset })
	placed := make([]error, len(faults))
	for i, f := range sorted {
		placed[i] = d.errorAtOffset(f.offset, f.err)
	}
	return placed
}

func (d document) errorAt(name string, err error) error {
	return d.errorAtOffset(d.entry(name).keyStart, err)
}

func (d document) errorAtOffset(offset int, err error) error {
	row, column := position(d.data, offset)
	return fmt.Errorf("%s: line %d, column %d: %w", d.name, row, column, err)
}
