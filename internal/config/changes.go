package config

import "reflect"

// Changes returns the names of the keys whose values differ between two texts of a configuration,
// in the order of docs/reference.toml. A text that is not valid counts as one without that key.
func Changes(before, after []byte) (names []string) {
	old, _ := decode("", before)
	now, _ := decode("", after)
	for i, s := range settings(&Config{}) {
		if !reflect.DeepEqual(old.only(i, s.name), now.only(i, s.name)) {
			names = append(names, s.name)
		}
	}
	return names
}

// only returns the default configuration with one key of the document, that of row i of the table.
func (d document) only(i int, name string) Config {
	c := Default()
	if value, found := d.values[name]; found {
		_ = settings(&c)[i].set(value)
	}
	return c
}
