package supervisor

import (
	"os"
	"path/filepath"
	"testing"
)

// A start that was refused because of a file waits for a change of that file.
func TestFailedStarts_RepairableFiles(t *testing.T) {
	dir := t.TempDir()
	config, secret := filepath.Join(dir, "config"), filepath.Join(dir, "secret")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	f := &FailedStarts{options: Options{Config: config, StateDir: dir}}
	write(config, goodConfig+"[KEY.a]\nSECRET_FILE = '"+secret+"'\n", 0o600)
	seen := f.repairable()
	for _, test := range []struct {
		name   string
		change func() error
		want   bool
	}{
		{"nothing", func() error { return nil }, false},
		{"another file", func() error { return os.WriteFile(secret+"2", nil, 0o600) }, false},
		{"the file is made", func() error { return os.WriteFile(secret, []byte("x"), 0o644) }, true},
		{"its content", func() error { return os.WriteFile(secret, []byte("xy"), 0o644) }, true},
		{"its removal", func() error { return os.Remove(secret) }, true},
		{"the configuration", func() error { return os.WriteFile(config, []byte("wrong"), 0o600) }, true},
	} {
		if err := test.change(); err != nil {
			t.Fatal(err)
		}
		now := f.repairable()
		if got := now != seen; got != test.want {
			t.Errorf("%s: got changed %t, want %t:\n%s\n%s", test.name, got, test.want, seen, now)
		}
		seen = now
	}
}
