package executor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestResolverLines(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "later", "resolv.conf")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		_ = os.MkdirAll(filepath.Dir(target), 0o700)
		_ = os.Remove(target)
		if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what string
		make func()
		want string
	}{
		{"it leads nowhere", func() {}, ""},
		{"what says nothing is left out", func() {
			put("# nameserver 1\n; x\n\n  nameserver   192.0.2.1 \r\nSECRET=x\nnameserver\n" +
				"search a b\noptions ndots:2\ndomain c\nsortlist d")
		}, "nameserver 192.0.2.1\nsearch a b\noptions ndots:2\ndomain c\n"},
		{"a line that is too long", func() {
			put("search " + strings.Repeat("x", maxResolver) + "\nnameserver ::1\n")
		}, "nameserver ::1\n"},
		{"a FIFO", func() { _ = os.Remove(target); _ = syscall.Mkfifo(target, 0o600) }, ""},
		{"a folder", func() { _ = os.Remove(target); _ = os.Mkdir(target, 0o700) }, ""},
	} {
		c.make()
		if got := resolverLines(link); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := resolverLines(plain); got != "" {
		t.Errorf("a regular file, which the role reads itself: got %q, want nothing", got)
	}
}
