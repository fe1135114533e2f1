package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"

	"dataflux-func-sidecar/test/testkit"
)

const originals = "# Sidecar\nBIND=127.0.0.1:8099,172.17.0.1:8099\nSECRET_KEY='" + givenKey + "'\nLOG_LEVEL=info\n"

func TestConfigureOriginal_TakesOver(t *testing.T) {
	p := newPlace(t)
	p.write(originals)
	if err := os.Chmod(p.path, 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := p.configure(0, "", "--print-summary")
	backup := p.path + ".original"
	c, err := config.Load(p.path)
	if err != nil || config.JoinBind(c.Bind) != stockBind || len(c.Keys) != 1 || string(c.Keys[0]) != givenKey {
		t.Fatalf("%v\n%s", err, p.read(p.path))
	}
	if p.read(backup) != originals || p.modeOf(backup) != 0o600 || p.modeOf(p.path) != 0o600 {
		t.Errorf("the backup, of mode %o, holds %q", p.modeOf(backup), p.read(backup))
	}
	wantAll(t, stderr, "rewritten from the original Sidecar's form; as it was: "+backup, backup+": line 4: has no meaning here: kept as a comment",
		"BIND: kept: "+stockBind, "SECRET_KEY: kept", "had mode 0644 and has 0600 now")
	wantAll(t, p.read(p.path), "# LOG_LEVEL=info")
	wantAll(t, stdout, "Secret Key:\n    "+givenKey+"\n")
	wantAll(t, p.read(config.SocketDropIn(p.unitDir)), "ListenStream=127.0.0.1:8099\nListenStream=172.17.0.1:8099\n")

	written := p.read(p.path)
	_, stderr = p.configure(0, "")
	if entries, _ := os.ReadDir(filepath.Dir(p.path)); p.read(p.path) != written || len(entries) != 2 || strings.Contains(stderr, "original") {
		t.Errorf("a repeated configure: %s %v", stderr, entries)
	}
}

func TestConfigureOriginal_OptionsReplaceItsValues(t *testing.T) {
	for _, test := range []struct{ before, stdin, bind, key, said string }{
		{"BIND=0.0.0.0.8099\nSECRET_KEY=" + givenKey, "", "127.0.0.1:1", givenKey, "SECRET_KEY: kept"},
		{"BIND=127.0.0.1:1\nSECRET_KEY=old-key-old-key-old", givenKey, "", givenKey, "SECRET_KEY: set to the given one"},
		{"BIND=127.0.0.1:1\nSECRET_KEY=\"\"", givenKey, "", givenKey, "line 2: SECRET_KEY was empty, so anybody could sign"},
		{"BIND=127.0.0.1:1\nSECRET_KEY=", "", "", "", "SECRET_KEY: generated"},
		{"BIND=127.0.0.1:1\n", "", "", "", "SECRET_KEY: generated"},
	} {
		p := newPlace(t)
		p.write(test.before)
		var args []string
		if test.stdin != "" {
			args = append(args, "--secret-key-stdin")
		}
		if test.bind != "" {
			args = append(args, "--bind", test.bind)
		}
		_, stderr := p.configure(0, test.stdin, args...)
		wantAll(t, stderr, test.said)
		c, err := config.Load(p.path)
		if err != nil || config.JoinBind(c.Bind) != "127.0.0.1:1" || len(c.Keys[0]) < 20 || test.key != "" && string(c.Keys[0]) != test.key {
			t.Errorf("%q: %v\n%s", test.before, err, p.read(p.path))
		}
		if p.read(p.path+".original") != test.before {
			t.Errorf("%q: the backup holds %q", test.before, p.read(p.path+".original"))
		}
	}
}

func TestConfigureOriginal_RefusedFileStays(t *testing.T) {
	for before, want := range map[string]string{
		"BIND=127.0.0.1:1\nSECRET_KEY=" + givenKey + "$(id)\n":            "line 2: SECRET_KEY has a $ or a `",
		"BIND=0.0.0.0.8099\nSECRET_KEY=" + givenKey + "\n":                "line 1, column 1: BIND address 1 of 1 must be an IP address with a port",
		"# c\nexport BIND=\nSECRET_KEY=" + givenKey + "\n":                "line 2, column 1: BIND address 1 of 1 must be",
		"SECRET_KEY=" + givenKey + "\nBIND=127.0.0.1:1\nTIMEOUT=`date`\n": "line 3: has a $ or a `",
	} {
		p := newPlace(t)
		p.write(before)
		_, stderr := p.configure(1, "")
		wantAll(t, stderr, want, "nothing was changed", "hint: correct the file by hand")
		entries, _ := os.ReadDir(filepath.Dir(p.path))
		if p.read(p.path) != before || len(entries) != 1 || strings.Contains(stderr, givenKey) || strings.Contains(stderr, "rewritten") {
			t.Errorf("%q: %s\n%v %q", before, stderr, entries, p.read(p.path))
		}
	}
}

func TestConfigureOriginal_BackupNextToALinksTarget(t *testing.T) {
	p := newPlace(t)
	p.write(originals)
	target := p.path
	p.path = filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, p.path); err != nil {
		t.Fatal(err)
	}
	p.configure(0, "")
	if p.read(target+".original") != originals {
		t.Error("no backup next to the file itself")
	}
}

func TestConfigureOriginal_WarnsOfAnotherKey(t *testing.T) {
	p := newPlace(t)
	p.write("BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"" + givenKey + "$x\"\n")
	_, stderr := p.configure(0, "")
	wantAll(t, stderr, "SECRET_KEY: kept", "warning: "+p.path+": a shell reads SECRET_KEY otherwise")
	if strings.Contains(stderr, givenKey) {
		t.Errorf("it shows the key: %s", stderr)
	}
}

func TestConfigureOriginal_NamedByServeAndCheck(t *testing.T) {
	p := newPlace(t)
	p.write(originals)
	const advice = "has the form of the original Sidecar's configuration: run dataflux-func-sidecar configure"
	wantAll(t, p.check(1), advice)
	status, _, stderr := testkit.Run(t, "", "serve", "--config", p.path, "--state-dir", t.TempDir(), "--bind", "127.0.0.1:1")
	if status != 1 {
		t.Errorf("serve: status %d", status)
	}
	wantAll(t, stderr, advice)
	if p.read(p.path) != originals || strings.Contains(stderr, givenKey) {
		t.Error("the file was changed, or the key shown")
	}
}
