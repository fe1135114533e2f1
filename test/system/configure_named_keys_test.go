package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/test/testkit"
)

// actionLines are the end of a configuration with two actions.
const actionLines = "\n[ACTION.deploy]\nRUN = \"true\"\n[ACTION.status]\nRUN = \"true\"\n"

// printedKey returns the key of the output of configure, which has it alone.
func printedKey(t *testing.T, stdout string) string {
	t.Helper()
	key, found := strings.CutPrefix(stdout, "Secret Key:\n    ")
	if key = strings.TrimSuffix(key, "\n"); !found || len(key) != 32 || strings.ContainsAny(key, " \n") {
		t.Fatalf("got %q, want one key", stdout)
	}
	return key
}

func TestConfigure_NamedKey(t *testing.T) {
	p := newPlace(t)
	before := "SECRET_KEY='" + givenKey + "' # of Func\n" + actionLines
	p.write(before)
	if err := os.Chmod(p.path, 0o640); err != nil {
		t.Fatal(err)
	}
	stdout, said := p.configure(0, "", "--add-key", "deploy", "--actions", "deploy, status",
		"--from", "172.17.0.0/16,unix", "--expires", "2099-12-31", "--jobs", "all")
	first := printedKey(t, stdout)
	want := before + "\n[KEY.deploy]\nSECRET = \"" + first + "\"\nACTIONS = [\"deploy\", \"status\"]\n" +
		"FROM = [\"172.17.0.0/16\", \"unix\"]\nEXPIRES = 2099-12-31\nJOBS = \"all\"\n"
	if got := p.read(p.path); got != want || p.modeOf(p.path) != 0o600 {
		t.Fatalf("got mode %o and\n%s\nwant\n%s", p.modeOf(p.path), got, want)
	}
	wantAll(t, said, "SECRET_KEY: kept\nKEY.deploy: added, with a generated secret\n", "Next: set this key as the Secret Key of a connector")
	c, err := config.Load(p.path)
	if err != nil || len(c.NamedKeys) != 1 || !c.NamedKeys[0].AllJobs || c.NamedKeys[0].AnyCommand || !c.NamedKeys[0].FromUnix {
		t.Errorf("got %+v, %v", c.NamedKeys, err)
	}

	stdout, stderr := p.configure(0, "", "--rotate-key", "deploy")
	second := printedKey(t, stdout)
	if got := p.read(p.path); got != strings.Replace(want, `"`+first+`"`, `["`+second+`", "`+first+`"]`, 1) {
		t.Errorf("after --rotate-key: got\n%s", got)
	}
	wantAll(t, stderr, "KEY.deploy: added a generated secret before the one that it has", "as root: dataflux-func-sidecar configure --config "+p.path+" --drop-old-secret deploy\n")
	said += stderr

	stdout, stderr = p.configure(0, "", "--drop-old-secret", "deploy")
	if got := p.read(p.path); stdout != "" || got != strings.Replace(want, `"`+first+`"`, `["`+second+`"]`, 1) {
		t.Errorf("after --drop-old-secret: got %q and\n%s", stdout, got)
	}
	said += stderr

	stdout, stderr = p.configure(0, "", "--drop-key", "deploy")
	if got := p.read(p.path); stdout != "" || got != before {
		t.Errorf("after --drop-key: got %q and\n%s", stdout, got)
	}
	wantAll(t, stderr, "KEY.deploy: removed")
	for _, key := range []string{first, second, givenKey} {
		if strings.Contains(said+stderr, key) {
			t.Errorf("standard error shows a key: %s%s", said, stderr)
		}
	}
}

// Key pairs: the private key is in a file of its own, and the configuration has the public key alone.
func TestConfigure_PublicKeys(t *testing.T) {
	p := newPlace(t)
	p.write("SECRET_KEY='" + givenKey + "'\n" + actionLines)
	folder := sharedDir(t)
	makeKey := func(name string) (file, public string) {
		file = filepath.Join(folder, name)
		s := invoke(t, invocation{args: []string{"keys", "new", file}})
		public, found := strings.CutPrefix(s.stdout, "PUBLIC_KEYS = \"")
		public = strings.TrimSuffix(public, "\"\n")
		info, err := os.Stat(file)
		if s.status != 0 || !found || len(public) != 44 || err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("got %+v, %v, want a file of mode 0600 and its public key", s, err)
		}
		return file, public
	}
	first, one := makeKey("first.pem")
	_, two := makeKey("second.pem")
	if s := invoke(t, invocation{args: []string{"keys", "new", first}}); s.status != 1 || s.stdout != "" || !strings.Contains(s.stderr, "is there already") {
		t.Errorf("a file that is there: got %+v, want it to be refused", s)
	}
	if s := invoke(t, invocation{args: []string{"keys", "new", "--quiet", filepath.Join(folder, "third.pem")}}); s.status != 0 || len(s.stdout) != 45 || s.stderr != "" {
		t.Errorf("--quiet: got %+v, want the public key alone", s)
	}
	for _, args := range [][]string{{"new"}, {"new", "a", "b"}, {"new", "a", "--json"}, {"old"}} {
		if s := invoke(t, invocation{args: append([]string{"keys"}, args...)}); s.status != 2 {
			t.Errorf("keys %q: got %+v, want wrong usage", args, s)
		}
	}

	stdout, stderr := p.configure(0, "", "--add-key", "fleet", "--actions", "deploy", "--public-key", one)
	wantAll(t, stderr, "KEY.fleet: added, with the given public key\n", "SIGNED_HOSTS")
	if got := p.read(p.path); stdout != "" || !strings.HasSuffix(got, "\n[KEY.fleet]\nPUBLIC_KEYS = \""+one+"\"\nACTIONS = [\"deploy\"]\n") {
		t.Errorf("got %q and\n%s", stdout, got)
	}
	_, stderr = p.configure(0, "", "--rotate-key", "fleet", "--public-key", two)
	wantAll(t, stderr, "added the given public key before the one that it has", "--drop-old-secret fleet")
	wantAll(t, p.read(p.path), `PUBLIC_KEYS = ["`+two+`", "`+one+`"]`)
	p.configure(0, "", "--drop-old-secret", "fleet")
	wantAll(t, p.read(p.path), `PUBLIC_KEYS = ["`+two+`"]`)
	wantAll(t, invoke(t, invocation{args: []string{"keys", "--config", p.path, "--json"}}).stdout, `"name":"fleet"`, `"secrets":0,"publicKeys":1`)
	s := invoke(t, invocation{args: []string{"actions", "--config", p.path, "--key", "fleet"}})
	wantAll(t, s.stderr, "no secret of that key, but PUBLIC_KEYS", "hint: give the private key with --secret-key-file")

	const failed, wrongUse = 1, 2
	for _, test := range []struct {
		status int
		args   []string
		stdin  string
		want   string
	}{
		{wrongUse, []string{"--public-key", one}, "", "--public-key is for a new key or a rotation"},
		{wrongUse, []string{"--add-key", "x", "--public-key", givenKey}, "", "--public-key must be the base64 of 32 bytes"},
		{wrongUse, []string{"--drop-key", "fleet", "--public-key", one}, "", "--public-key is for a new key or a rotation"},
		{failed, []string{"--add-key", "x", "--public-key", two}, "", "KEY.x has the same public key as KEY.fleet"},
		{failed, []string{"--add-key", "x", "--secret-key-stdin"}, p.read(first), "is a private key, which belongs to its caller alone\nhint: give its public key"},
	} {
		_, stderr := p.configure(test.status, test.stdin, test.args...)
		wantAll(t, stderr, test.want)
		if strings.Contains(stderr, givenKey) {
			t.Errorf("%q: standard error shows the text: %s", test.args, stderr)
		}
	}
}

// The least lines, with a secret of the caller, which is not shown.
func TestConfigure_NamedKeyGiven(t *testing.T) {
	p := newPlace(t)
	p.write("BIND = \"127.0.0.1:8099\"\n")
	stdout, stderr := p.configure(0, "a-given-secret-of-ci", "--add-key=ci", "--secret-key-stdin")
	if got := p.read(p.path); stdout != "" || got != "BIND = \"127.0.0.1:8099\"\n\n[KEY.ci]\nSECRET = \"a-given-secret-of-ci\"\n" {
		t.Errorf("got %q and\n%s", stdout, got)
	}
	wantAll(t, stderr, "SECRET_KEY: none, as there are named keys", "added, with the given secret; it may run any command, as --actions is not given")
	// No SECRET_KEY is generated now: it could run anything.
	_, stderr = p.configure(0, "", "--print-summary")
	wantAll(t, stderr, "SECRET_KEY: none, as there are named keys")
	p.configure(0, "another-given-secret", "--rotate-key", "ci", "--secret-key-stdin")
	p.configure(0, "", "--add-key", "look", "--actions", "")
	if got := p.read(p.path); strings.Contains(got, "SECRET_KEY") || !strings.Contains(got, `SECRET = ["another-given-secret", "a-given-secret-of-ci"]`) ||
		!strings.Contains(got, "\nACTIONS = []\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestConfigure_NamedKeyRefused(t *testing.T) {
	file := "SECRET_KEY='" + givenKey + "'\n" + actionLines + "[KEY.ci]\nSECRET='a-secret-of-ci'\n[KEY.f]\nSECRET_FILE='f'\n"
	const wrongUse, failed = 2, 1
	for _, test := range []struct {
		status      int
		args, stdin string // of args, blanks separate, and _ is the empty text
		want        string
	}{
		{failed, "--add-key ci", "", "error: nothing was changed: %s: line 7, column 2: there is a key ci already\nhint: choose another name, or change that one\n"},
		{failed, "--add-key a --actions deplyo", "", "error: nothing was changed: %s: there is no action deplyo\nhint: did you mean deploy?\n"},
		{failed, "--add-key a --actions backup", "", "there is no action backup\nhint: the actions are deploy, status\n"},
		{failed, "--add-key a --secret-key-stdin", givenKey, "KEY.a has the same secret as SECRET_KEY"},
		{failed, "--rotate-key ci --secret-key-stdin", "a-secret-of-ci", "same key twice"},
		{failed, "--rotate-key di", "", "%s: there is no [KEY.di]\nhint: did you mean ci?\n"},
		{failed, "--rotate-key default", "", "the key default is SECRET_KEY\nhint: change it with --add-key"},
		{failed, "--drop-key default", "", "the key default is SECRET_KEY\nhint: change it with --add-key"},
		{failed, "--rotate-key f", "", "line 10, column 1: the secret of the key f is in a file of its own, SECRET_FILE\nhint: edit it by hand"},
		{failed, "--drop-old-secret ci", "", "line 8, column 1: the key ci has one secret, and no old one\nhint: begin a rotation with --rotate-key ci\n"},
		{failed, "--drop-old-secret ci --secret-key-stdin", "x-secret", "--drop-old-secret needs no secret\nhint: leave --secret-key-stdin out"},
		{failed, "--drop-key old", "", "there is no [KEY.old]\nhint: the named keys are ci, f\n"},
		{wrongUse, "--add-key default", "", "default is a reserved name: choose another"},
		{wrongUse, "--add-key first", "", "first is a reserved name"},
		{wrongUse, "--add-key Deploy", "", "the name of a key has 1 to 32 of a-z"},
		{wrongUse, "--add-key _", "", "the name of a key has 1 to 32 of a-z"},
		{wrongUse, "--add-key a b", "", "it takes no arguments"},
		{wrongUse, "--add-key a --from 10.0.0.1/8", "", `--from "10.0.0.1/8": network 1 of 1 is an address inside a network: write 10.0.0.0/8`},
		{wrongUse, "--add-key a --from _", "", "--from \"\": it is empty"},
		{wrongUse, "--add-key a --expires 2020-01-01", "", `--expires "2020-01-01": is in the past: give a later date`},
		{wrongUse, "--add-key a --expires soon", "", `--expires "soon": must be a date such as 2027-06-30`},
		{wrongUse, "--add-key a --jobs some", "", `--jobs "some": must be "own" or "all"`},
		{wrongUse, "--add-key a --actions De", "", `--actions "De": write names of actions`},
		{wrongUse, "--add-key --actions deploy", "", "--actions is for a new key: write --add-key NAME as well"},
		{wrongUse, "--jobs all", "", "--jobs is for a new key"},
		{wrongUse, "--add-key a --drop-key ci", "", "change one key at a time"},
		{wrongUse, "--add-key --rotate-key ci", "", "change one key at a time"},
		{wrongUse, "--rotate-key ci --drop-key first", "", "change one key at a time"},
		{wrongUse, "--rotate-key SecretByMistake", "", "--rotate-key: give the name of a key\nhint: `dataflux-func-sidecar keys` lists them"},
		{wrongUse, "--drop-key SecretByMistake", "", "--drop-key: write first or last"},
	} {
		p := newPlace(t)
		p.write(file)
		args := strings.Fields(test.args)
		for i := range args {
			args[i] = strings.TrimSuffix(args[i], "_")
		}
		stdout, stderr := p.configure(test.status, test.stdin, args...)
		wantAll(t, stderr, strings.ReplaceAll(test.want, "%s", p.path))
		if stdout != "" || p.read(p.path) != file || strings.Contains(stderr, "SecretByMistake") || strings.Contains(stderr, givenKey) || strings.Contains(stderr, "a-secret-of-ci") {
			t.Errorf("%s: got %s%s\nand the file\n%s", test.args, stdout, stderr, p.read(p.path))
		}
	}
	p := newPlace(t)
	_, stderr := p.configure(1, "", "--add-key", "a")
	wantAll(t, stderr, "no such file or directory\nhint: create it with dataflux-func-sidecar configure")
	p.write("[KEY.only]\nSECRET='a-secret-of-ci'\n")
	_, stderr = p.configure(1, "", "--drop-key", "only")
	wantAll(t, stderr, "nothing was changed: it is the only key, and no call is accepted without\nhint: add another one first")
}

// A rotation of a key refuses no request: the service takes each step with a reload.
func TestConfigure_NamedKeyInService(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, actionLines)
	file := filepath.Join(sharedDir(t), "secret")
	configure := func(args ...string) string {
		t.Helper()
		status, stdout, stderr := testkit.Run(t, "", append([]string{"configure", "--config", d.config}, args...)...)
		if status != 0 {
			t.Fatalf("%q: %s", args, stderr)
		}
		d.wantReloaded()
		if stdout == "" {
			return ""
		}
		return printedKey(t, stdout)
	}
	calls := func(secret string) int {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		return invoke(t, invocation{args: []string{"run", "--url", "http://" + d.address, "--secret-key-file", file, "deploy"}}).status
	}
	first := configure("--add-key", "ci", "--actions", "deploy")
	if got := calls(first); got != 0 {
		t.Errorf("with the new key: status %d", got)
	}
	d.cli("shell", "--key", "ci", "id").want(t, 125, "", "refused with 403: the key ci may run")
	second := configure("--rotate-key", "ci")
	if old, new := calls(first), calls(second); old != 0 || new != 0 {
		t.Errorf("during the rotation: status %d with the old secret, %d with the new one", old, new)
	}
	configure("--drop-old-secret", "ci")
	if old, new := calls(first), calls(second); old != 125 || new != 0 {
		t.Errorf("after the rotation: status %d with the old secret, %d with the new one", old, new)
	}
	configure("--drop-key", "ci")
	if got := calls(second); got != 125 {
		t.Errorf("without the key: status %d", got)
	}
	for _, secret := range []string{first, second} {
		if strings.Contains(d.log(), secret) {
			t.Error("the log shows a secret")
		}
	}
}

func TestKeys_List(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("SECRET_KEY='" + givenKey + "'\n" + actionLines + "[KEY.ci]\nSECRET=['a-secret-of-ci', 'an-old-secret']\nACTIONS=['deploy']\n")
	journal := filepath.Join(t.TempDir(), "journalctl")
	script := "#!/bin/sh\ncase \"$*\" in *SIDECAR_KEY=ci*) echo '{\"__REALTIME_TIMESTAMP\":\"1764547200000000\"}' ;; esac\n"
	if err := os.WriteFile(journal, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	with := []string{"PATH=" + filepath.Dir(journal) + ":/usr/bin:/bin"}
	list := func(args ...string) spoken {
		return invoke(t, invocation{args: append([]string{"keys", "--config", p.path}, args...), env: with})
	}
	list().want(t, 0, "NAME     MAY RUN      FROM      EXPIRES  JOBS  LAST USE\n"+
		"default  any command  anywhere  never    all   -\n"+
		"ci       deploy       anywhere  never    own   2025-12-01 00:00:00 +0000\n")
	list("--quiet").want(t, 0, "default\nci\n")
	s := list("--json")
	wantAll(t, s.stdout, `{"keys":[{"name":"default","anyCommand":true,"actions":[],"from":[],"expiresAt":null,"expired":false,"jobs":"all","secrets":1,"publicKeys":0,"lastUse":null}`,
		`"secrets":2,"publicKeys":0,"lastUse":"2025-12-01T00:00:00Z"}]}`)
	for _, secret := range []string{givenKey, "a-secret-of-ci", "an-old-secret"} {
		if strings.Contains(s.stdout+list().stdout, secret) {
			t.Errorf("a secret is shown: %s", s.stdout)
		}
	}
	with = []string{"PATH=/nonexistent"} // no journalctl
	wantAll(t, list().stdout, "\nci       deploy       anywhere  never    own   -\n")
	p.write("SECRET_KEY='" + givenKey + "'\n[KEY.cred]\nSECRET_FILE='missing'\n")
	s = list("--quiet") // only a warning: the service may not run, and has the credential only then
	s.want(t, 0, "default\ncred\n", "warning: "+p.path+": KEY.cred: SECRET_FILE: there is no credential")
	p.write("SECRET_KEY=''\n")
	list().want(t, 1, "", "line 1, column 1: SECRET_KEY")
	list("x").want(t, 2, "", "it takes no arguments")
}
