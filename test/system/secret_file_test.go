package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeSecrets writes a file of secrets as root would have it.
func writeSecrets(t *testing.T, path string, secrets ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(secrets, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A configuration without SECRET_KEY: the only secrets are in a file, which each reload reads again.
func TestReload_SecretFile(t *testing.T) {
	t.Parallel()
	const first, second = "canary-file-key-0123456789", "canary-next-file-key-0123456789"
	d := newDaemon(t, `"replaced below"`)
	file := filepath.Join(t.TempDir(), "secret")
	writeSecrets(t, file, first)
	text := "[KEY.deploy]\nSECRET_FILE = '" + file + "'\n"
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.key = first
	d.start()
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s, want the secret of the file in force", a.body)
	}

	writeSecrets(t, file, second, first)
	d.wantReloaded()
	for _, key := range []string{first, second} {
		d.key = key
		if a := d.run("echo in"); a.Data.Stdout != "in\n" {
			t.Errorf("got %s, want both secrets in force", a.body)
		}
	}
	d.awaitLog("changed: the SECRET_FILE of KEY.deploy")

	writeSecrets(t, file, second)
	d.wantReloaded()
	d.key = first
	d.try200(fields{"command": "true"}).wantRefusal(t, 401, "does not match")
	d.key = second

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	d.wantRefused("KEY.deploy: SECRET_FILE: "+file+" has mode 0640", "chmod 0600 "+file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.wantRefused("KEY.deploy: SECRET_FILE: cannot read it: open "+file, "correct the path")
	for _, secret := range []string{first, second} {
		if strings.Contains(d.log(), secret) {
			t.Errorf("the log shows a secret of the file")
		}
	}
}

func TestServe_UnfitSecretFile(t *testing.T) {
	t.Parallel()
	const secret = "canary-file-key-0123456789"
	for _, test := range []struct {
		name  string
		place func(path string) error
		want  string
	}{
		{"missing", os.Remove, "cannot read it"},
		{"others can read it", func(path string) error { return os.Chmod(path, 0o644) }, "chmod 0600"},
		{"the secret of SECRET_KEY", func(path string) error {
			return os.WriteFile(path, []byte(testKey), 0o600)
		}, "KEY.deploy has the same secret as SECRET_KEY"},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		writeSecrets(t, file, secret)
		if err := test.place(file); err != nil {
			t.Fatal(err)
		}
		d := newDaemon(t, `"`+testKey+`"`, "[KEY.deploy]", "SECRET_FILE = '"+file+"'")
		d.wantNoStart(test.want)
		if strings.Contains(d.log(), secret) {
			t.Errorf("%s: the log shows the secret", test.name)
		}
	}
}
