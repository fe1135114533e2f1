package config

import (
	"reflect"
	"slices"

	"dataflux-func-sidecar/internal/policy"
)

// Changes returns the names of the keys whose values differ between two texts of a configuration,
// in the order of docs/reference.toml; a table of KEY or ACTION has a name such as KEY.deploy. A
// text that is not valid counts as one without that key. What is in files is not compared.
func Changes(before, after []byte) (names []string) {
	old, _ := decode("", before)
	now, _ := decode("", after)
	for i, s := range settings(&Config{}) {
		a, b := old.only(i, s.name), now.only(i, s.name)
		switch {
		case reflect.DeepEqual(a, b):
		case s.name == "KEY":
			names = append(names, changedTables(s.name, a.NamedKeys, b.NamedKeys,
				func(k NamedKey) string { return k.Name })...)
		case s.name == "ACTION":
			names = append(names, changedTables(s.name, a.Actions, b.Actions,
				func(a policy.Action) string { return a.Name })...)
		default:
			names = append(names, s.name)
		}
	}
	return names
}

// changedTables returns the sorted names of the tables of a section that differ.
func changedTables[T any](section string, before, after []T, name func(T) string) []string {
	former := map[string]T{}
	for _, one := range before {
		former[name(one)] = one
	}
	var changed []string
	for _, one := range after {
		other, found := former[name(one)]
		if delete(former, name(one)); !found || !reflect.DeepEqual(one, other) {
			changed = append(changed, section+"."+name(one))
		}
	}
	for gone := range former {
		changed = append(changed, section+"."+gone)
	}
	slices.Sort(changed)
	return changed
}

// only returns the default configuration with one key of the document, that of row i of the table.
func (d document) only(i int, name string) Config {
	c := Default()
	if value, found := d.values[name]; found {
		_ = settings(&c)[i].set(value)
	}
	return c
}
