package supervisor

import (
	"context"
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

// A record that no start can have written counts as none.
func TestFailedStarts_ImpossibleRecord(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("RUNTIME_DIRECTORY", dir)
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for _, record := range []string{`{"starts":7,"waits":-1}`, `{"starts":-7}`, `{"starts":7`} {
		if err := os.WriteFile(filepath.Join(dir, "failed-starts"), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
		f := OpenFailedStarts(Options{StateDir: dir})
		if f.record != (startRecord{}) || f.wait(stopped) {
			t.Errorf("%s: got %+v, want none", record, f.record)
		}
		_ = f.file.Close()
	}
}
