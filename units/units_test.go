package units

import (
	"bytes"
	"os"
	"testing"
)

func TestAUnitIsTheSameFromAPackageAndWithAChangeIsNot(t *testing.T) {
	for _, name := range Names() {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		packaged := bytes.ReplaceAll(text, []byte("ExecStart=/usr/local/bin/"), []byte("ExecStart=/usr/bin/"))
		if !Same(name, text) || !Same(name, packaged) {
			t.Errorf("%s is not the same as itself", name)
		}
		if Same(name, append(text, "# a change\n"...)) || Same(name, nil) || Same("other-"+name, text) {
			t.Errorf("%s with a change is the same", name)
		}
	}
	if entries, _ := files.ReadDir("."); len(entries) != len(Names()) {
		t.Errorf("%d units are there, %d have a name", len(entries), len(Names()))
	}
}
