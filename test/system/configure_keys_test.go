package system

import (
	"os"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"
)

func TestConfigure_RotatesTheKey(t *testing.T) {
	p := newPlace(t)
	p.write("SECRET_KEY='" + givenKey + "' # of Func\n")
	keys := func() []string {
		c, err := config.Load(p.path)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, key := range c.Keys {
			texts = append(texts, string(key))
		}
		return texts
	}
	stdout, stderr := p.configure(0, "", "--add-key")
	now := keys()
	if len(now) != 2 || now[0] != givenKey || len(now[1]) != 32 || stdout != "Secret Key:\n    "+now[1]+"\n" {
		t.Fatalf("got the keys %q and the output %q", now, stdout)
	}
	wantAll(t, stderr, "SECRET_KEY: added a generated one, as the last of 2", "Next: set this key in DataFlux Func",
		"configure --config "+p.path+" --drop-key first")
	said := stderr

	_, stderr = p.configure(0, "", "--drop-key", "first")
	if got := keys(); len(got) != 1 || got[0] != now[1] || p.read(p.path) != "SECRET_KEY=[\""+now[1]+"\"] # of Func\n" {
		t.Fatalf("got %q", p.read(p.path))
	}
	wantAll(t, stderr, "SECRET_KEY: removed the first of 2")
	said += stderr

	stdout, stderr = p.configure(0, "another-given-key", "--add-key", "--secret-key-stdin") // one that is known is not shown
	wantAll(t, stderr, "added the given one, as the last of 2")
	if got := keys(); stdout != "" || len(got) != 2 || got[1] != "another-given-key" {
		t.Errorf("got %q and the output %q", got, stdout)
	}
	p.configure(0, "", "--drop-key", "last")

	stdout, stderr = p.configure(0, "", "--add-key", "--drop-key=first") // at once, as after a leak
	leaked := now[1]
	if now = keys(); len(now) != 1 || now[0] == leaked || !strings.Contains(stdout, now[0]) {
		t.Errorf("got %q and the output %q", now, stdout)
	}
	wantAll(t, stderr, "SECRET_KEY: replaced the first of 1 by a generated one, now the last")
	for _, key := range append(now, leaked, givenKey) {
		if strings.Contains(said+stderr, key) {
			t.Errorf("standard error shows a key: %s%s", said, stderr)
		}
	}
}

func TestConfigure_RotationRefused(t *testing.T) {
	one, nine := "SECRET_KEY=\""+givenKey+"\"\n", "SECRET_KEY=['1','2','3','4','5','6','7','8']\n"
	for _, test := range []struct {
		before, stdin, want string
		args                []string
	}{
		{one, "", "error: nothing was changed: SECRET_KEY holds only one key, and no call is accepted without\nhint: to replace it, use --add-key too\n", []string{"--drop-key", "last"}},
		{one, "", "write first or last, as the keys stand in the file", []string{"--drop-key", "Old"}},
		{one, "", "--drop-key needs a value", []string{"--drop-key"}},
		{one, "new", "hint: to replace one, use --add-key too\n", []string{"--drop-key", "first", "--secret-key-stdin"}},
		{one, givenKey, "holds the same key twice", []string{"--add-key", "--secret-key-stdin"}},
		{one, "", "hint: a secret of yours is given with --secret-key-stdin", []string{"--add-key", "A-key-by-mistake"}},
		{nine, "", "at most 8", []string{"--add-key"}},
	} {
		p := newPlace(t)
		p.write(test.before)
		status := 1
		if test.stdin == "" && test.before == one && !strings.Contains(test.want, "only one") {
			status = 2
		}
		stdout, stderr := p.configure(status, test.stdin, test.args...)
		wantAll(t, stderr, test.want)
		if stdout != "" || strings.Contains(stderr, givenKey) || p.read(p.path) != test.before {
			t.Errorf("%q: %s%s\nthe file is now %q", test.args, stdout, stderr, p.read(p.path))
		}
	}
	p := newPlace(t)
	p.write("BIND = \"127.0.0.1:8099\"\n")
	_, stderr := p.configure(1, "", "--add-key", "--drop-key", "first")
	wantAll(t, stderr, "nothing was changed: SECRET_KEY holds no key to drop")
	stdout, _ := p.configure(0, "", "--add-key")
	if c, err := config.Load(p.path); err != nil || stdout != "Secret Key:\n    "+string(c.Keys[0])+"\n" {
		t.Errorf("the first key: got %q, %v", stdout, err)
	}
	p = newPlace(t)
	p.configure(1, "", "--drop-key", "first")
	if _, err := os.Stat(p.path); err == nil {
		t.Error("a file was made")
	}
}
