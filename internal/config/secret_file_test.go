package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// loadWithSecret loads a configuration with a key whose secret is at path.
func loadWithSecret(t *testing.T, path string) (Config, error) {
	t.Helper()
	return Load(writeFile(t, "SECRET_KEY = \"the-default-secret\"\n[KEY.deploy]\nSECRET_FILE = '"+path+"'\n", 0o600))
}

func TestLoad_SecretFile(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []Key
	}{
		{"one line", canary + "\n", []Key{Key(canary)}},
		{"no line end", canary, []Key{Key(canary)}},
		{"line ends of Windows", canary + "\r\nold\r\n", []Key{Key(canary), Key("old")}},
		{"two lines", canary + "\nold", []Key{Key(canary), Key("old")}},
		{"blanks belong to it", " a b ", []Key{Key(" a b ")}},
	} {
		for _, mode := range []os.FileMode{0o600, 0o400} {
			c, err := loadWithSecret(t, writeFile(t, test.text, mode))
			if err != nil || len(c.NamedKeys) != 1 || !reflect.DeepEqual(c.NamedKeys[0].Secrets, test.want) {
				t.Errorf("%s, mode %o: got %d secrets, %v, want %d", test.name, mode, len(c.Secrets())-1, err, len(test.want))
			}
		}
	}
}

func TestLoad_FaultsOfSecretFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := writeFile(t, canary, 0o600)
	readable := writeFile(t, canary, 0o640)
	for _, test := range []struct{ name, path, want string }{
		{"missing", dir + "/none", "KEY.deploy: SECRET_FILE: cannot read it: open " + dir + "/none: no such file or directory: correct the path"},
		{"a directory", dir, dir + " is not a regular file of at most 4096 bytes"},
		{"a FIFO", fifo, fifo + " is not a regular file"},
		{"readable by the group", readable, readable + " has mode 0640, so other users can read or write the key: run chmod 0600 " + readable},
		{"too large", writeFile(t, strings.Repeat("k\n", 2049), 0o600), "is not a regular file of at most 4096 bytes"},
		{"empty", writeFile(t, "", 0o600), "line 1 is empty"},
		{"an empty line", writeFile(t, canary+"\n\n", 0o600), "line 2 is empty"},
		{"three lines", writeFile(t, canary+"\n2\n3\n", 0o600), "has more than 2 lines"},
		{"a control character", writeFile(t, canary+"\x01\n", 0o600), "line 1 holds a line break or another invisible character"},
		{"the secret of SECRET_KEY", writeFile(t, "the-default-secret\n", 0o600), "KEY.deploy has the same secret as SECRET_KEY"},
		{"twice the same", writeFile(t, canary+"\n"+canary, 0o600), "KEY.deploy has the same secret twice"},
		{"no such credential", "none.key", "there is no credential /run/credentials/dataflux-func-sidecar.service/none.key: write LoadCredential=none.key:/PATH"},
		{"of another user", foreign, foreign + " belongs to user 12345, who can change it: run chown root: " + foreign},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.path == foreign {
				if os.Geteuid() != 0 {
					skip(t, "giving a file to another user needs root")
				}
				if err := os.Chown(foreign, 12345, 0); err != nil {
					t.Fatal(err)
				}
			}
			_, err := loadWithSecret(t, test.path)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(fmt.Sprintf("%v %#v", err, err), canary) {
				t.Errorf("got %v, want %q, and nothing of the file", err, test.want)
			}
		})
	}
}

func TestLoad_Credential(t *testing.T) {
	path := writeFile(t, canary, 0o400)
	t.Setenv(credentialsVariable, filepath.Dir(path))
	c, err := loadWithSecret(t, filepath.Base(path))
	if err != nil || len(c.NamedKeys[0].Secrets) != 1 || string(c.NamedKeys[0].Secrets[0]) != canary {
		t.Errorf("got %v, %v, want the secret of the credential", c, err)
	}
}

func TestLoad_JoinsFaultsOfSecretFiles(t *testing.T) {
	path := writeFile(t, "\n", 0o644)
	_, err := Load(writeFile(t, "[KEY.a]\nSECRET_FILE = '/none'\n[KEY.b]\nSECRET_FILE = '"+path+"'\n", 0o600))
	if got := Failures(err); len(got) != 3 {
		t.Errorf("got %d faults, %v, want those of both files", len(got), err)
	}
}

// What a process that could read the files hands over to one that cannot.
func TestSetFileSecrets(t *testing.T) {
	read, err := loadWithSecret(t, writeFile(t, canary+"\nold\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		files map[string][][]byte
		want  string // in the error; empty: none
	}{
		{"as they were read", read.FileSecrets(), ""},
		{"none", nil, "the secret of KEY.deploy has not arrived, as the release that runs does not know it: restart the service"},
		{"of another key", map[string][][]byte{"other": {[]byte("x")}}, "has not arrived"},
		{"an empty one", map[string][][]byte{"deploy": {nil}}, "the secret of KEY.deploy line 1 is empty"},
		{"three", map[string][][]byte{"deploy": {[]byte("x"), []byte("y"), []byte("z")}}, "has more than 2 lines"},
		{"that of SECRET_KEY", map[string][][]byte{"deploy": {[]byte("the-default-secret")}}, "the same secret as SECRET_KEY"},
	} {
		c := mustParse(t, "SECRET_KEY = \"the-default-secret\"\n[KEY.deploy]\nSECRET_FILE = '/x'\n")
		err := c.SetFileSecrets(test.files)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err == nil && !reflect.DeepEqual(c.Secrets(), read.Secrets()) {
			t.Errorf("%s: got other secrets than were read", test.name)
		}
	}
}

func TestFiles(t *testing.T) {
	const key = "SECRET_KEY = 'k'\n"
	for _, test := range []struct {
		text string
		want []string
	}{
		{key, nil},
		{key + "TLS_CERTIFICATE = '/c'\nTLS_KEY = '/k'\n[KEY.b]\nSECRET_FILE = '/b'\n[KEY.a]\nSECRET_FILE = '/a'", []string{"/c", "/k", "/a", "/b"}},
		{key + "[KEY.a]\nSECRET_FILE = 'credential'\n[KEY.b]\nSECRET = 'x'", nil},
	} {
		if got := mustParse(t, test.text).Files(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

// configure --apply looks at the files before it restarts a service; a credential comes with that.
func TestCheckSecretFiles(t *testing.T) {
	good, open := writeFile(t, canary, 0o600), writeFile(t, "other", 0o644)
	c := mustParse(t, "[KEY.a]\nSECRET_FILE = '"+good+"'\n[KEY.b]\nSECRET_FILE = 'credential'\n[KEY.c]\nSECRET = 'x'")
	if err := c.CheckSecretFiles(); err != nil || len(c.Secrets()) != 1 {
		t.Errorf("got %v and %d secrets, want no fault, and the configuration as it was", err, len(c.Secrets()))
	}
	c = mustParse(t, "[KEY.a]\nSECRET_FILE = '"+open+"'\n[KEY.b]\nSECRET_FILE = '/none'")
	if got := Failures(c.CheckSecretFiles()); len(got) != 2 || !strings.Contains(got[0].Error(), "KEY.a: SECRET_FILE: "+open+" has mode 0644") {
		t.Errorf("got %v, want the faults of both files", got)
	}
}
