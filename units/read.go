package units

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SettingsOf are the values that a unit gives a setting, one after the other.
func SettingsOf(unit []byte, name string) (values []string) {
	for line := range strings.Lines(string(unit)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+"="); found {
			values = append(values, value)
		}
	}
	return values
}

// WithDropIns is the text of a unit and of its drop-ins, those beside it and those of other directories, in
// the order in which systemd reads them. What is missing is left out.
func WithDropIns(unit string, others ...string) []byte {
	text, _ := os.ReadFile(unit)
	dropIns := map[string]string{} // by name: a later one hides another of the same name
	for _, dir := range append([]string{filepath.Dir(unit)}, others...) {
		folder := filepath.Join(dir, filepath.Base(unit)+".d")
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".conf") {
				dropIns[entry.Name()] = filepath.Join(folder, entry.Name())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		more, _ := os.ReadFile(dropIns[name])
		text = slices.Concat(text, []byte("\n"), more)
	}
	return text
}
