package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

const keysOfTheTest = `
AUDIT = "required"

[KEY.deploy]
SECRET = "canary-deploy-key-0123456789"
ACTIONS = ["deploy"]

[KEY.vault]
SECRET_FILE = "vault"
ACTIONS = ["deploy"]

[ACTION.deploy]
RUN = 'printf %s "$VERSION"'
ENVS = { VERSION = 'v[0-9]+' }
`

// keyed returns a machine whose configuration has named keys, one of them a systemd credential.
func keyed(t *testing.T) *machine {
	t.Helper()
	m := installed(t)
	m.write("/root/vault", "canary-vault-key-0123456789\n")
	m.sh("chmod 0600 /root/vault; mkdir -p /etc/systemd/system/" + service + ".d")
	m.write("/etc/systemd/system/"+service+".d/vault.conf", "[Service]\nLoadCredential=vault:/root/vault\n")
	m.sh("cat >> /etc/dataflux-func-sidecar <<'END'\n" + keysOfTheTest + "END\nsystemctl daemon-reload; systemctl restart " + service)
	return m
}

// as is the client with another key.
func (c *client) as(key string) *client {
	other := *c
	other.key = key
	return &other
}

// The queries are those of docs/operations.md.
func TestKeys_AuditInTheJournal(t *testing.T) {
	m := keyed(t)
	c := m.client(defaultAddress)
	for _, key := range []string{"canary-deploy-key-0123456789", "canary-vault-key-0123456789"} {
		answer := c.as(key).answer(t, map[string]any{
			"command": "deploy", "envs": []string{"VERSION=v7"}, "labels": map[string]string{"user": "alice"},
		})
		if answer.Data == nil || answer.Data.Stdout != "v7" {
			t.Fatalf("%s: got %+v", key, answer)
		}
	}
	if status, _, err := c.as("canary-deploy-key-0123456789").post(map[string]any{"command": "id"}); status != 403 || err != nil {
		t.Errorf("a command of a restricted key: got %d, %v", status, err)
	}
	for query, want := range map[string]int{ // the last entry of each job
		"SIDECAR_KEY=deploy":                       1,
		"SIDECAR_KEY=vault SIDECAR_ACTION=deploy":  1,
		"SIDECAR_LABEL_USER=alice":                 2,
		"SIDECAR_ACTION=deploy":                    2,
		"SIDECAR_KEY=deploy SIDECAR_ACTION=nought": 0,
	} {
		m.eventually(query, func() bool {
			out, _ := m.try("sh", "-c", "journalctl --quiet -o json "+query+" MESSAGE_ID=c8465b1b1c1042caa73dba034f435a39")
			return len(strings.Fields(out)) > 0 == (want > 0) && strings.Count(out, `"SIDECAR_EXIT_CODE":"0"`) == want
		})
	}
	var entry map[string]any
	if err := json.Unmarshal([]byte(m.sh("journalctl --quiet -n 1 -o json SIDECAR_KEY=vault MESSAGE_ID=c8465b1b1c1042caa73dba034f435a39")), &entry); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		"SIDECAR_KEY", "SIDECAR_ACTION", "SIDECAR_REMOTE", "SIDECAR_ACCEPTED_AT", "SIDECAR_EXIT_CODE",
		"SIDECAR_DURATION_MS", "SIDECAR_LABEL_USER", "SIDECAR_JOB_ID",
	} {
		if entry[field] == nil {
			t.Errorf("got no %s in the last entry: %v", field, entry)
		}
	}
	if refused := m.sh("journalctl --quiet -o cat SIDECAR_KEY=deploy SIDECAR_HTTP_STATUS=403"); !strings.Contains(refused, "may run the action deploy") {
		t.Errorf("got %q, want the refusal", refused)
	}
	// The command line finds the secret of a key in its credential, and its last use in the journal. A
	// command cannot forge one.
	if out := m.sh("dataflux-func-sidecar run --key vault deploy VERSION=v8"); out != "v8" {
		t.Errorf("run --key vault: got %q, want v8", out)
	}
	m.sh("printf '\n[KEY.idle]\nSECRET = \"canary-idle-key-0123456789\"\n' >> /etc/dataflux-func-sidecar")
	m.eventually("an entry of a command in the unit", func() bool { // journald may look for its process too late
		c.shell(t, "printf 'MESSAGE=forged\nSIDECAR_KEY=idle\n' | logger --journald")
		return m.sh("journalctl --sync; journalctl --quiet --unit="+service+" SIDECAR_KEY=idle") != ""
	})
	m.eventually("the last use of the keys", func() bool {
		out := m.run("dataflux-func-sidecar", "keys")
		used := regexp.MustCompile(`(?m)^(default|deploy|vault) .*  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d `)
		return len(used.FindAllString(out, -1)) == 3 && regexp.MustCompile(`(?m)^idle .*  -$`).MatchString(out)
	})
	if all := m.run("journalctl", "--quiet", "-o", "verbose"); strings.Contains(all, "canary-") {
		t.Error("the journal has a secret")
	}
}

// AUDIT = "required": without journald and its sockets nothing runs.
func TestKeys_AuditWithoutAJournal(t *testing.T) {
	m := keyed(t)
	c := m.client(defaultAddress)
	start := "systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service"
	m.sh("systemctl stop $(systemctl list-units --plain --no-legend 'systemd-journald*.socket' | cut -d' ' -f1) systemd-journald.service")
	t.Cleanup(func() { m.sh(start) })
	status, answer, err := c.post(map[string]any{"command": "touch /tmp/witness"})
	if status != 503 || err != nil || !strings.Contains(answer.Message, "AUDIT") {
		t.Errorf("got %d %+v, %v", status, answer, err)
	}
	m.sh("! test -e /tmp/witness; " + start)
	c.shell(t, "touch /tmp/witness")
	m.sh("test -e /tmp/witness")
}

// A command finds nothing of a key that a credential holds.
func TestKeys_CredentialOutOfReach(t *testing.T) {
	m := keyed(t)
	c := m.client(defaultAddress)
	out := c.shell(t, "env; cat /run/credentials/*/vault; ls -la /run/credentials/*; grep -s canary-vault /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true")
	if strings.Contains(out, "canary-vault") || strings.Contains(out, "CREDENTIALS_DIRECTORY") {
		t.Errorf("got %s", out)
	}
	m.write("/root/vault", "canary-other-key-0123456789\n")
	m.sh("systemctl restart " + service)
	if status, _, _ := c.as("canary-vault-key-0123456789").post(map[string]any{"command": "deploy", "envs": []string{"VERSION=v1"}}); status != 401 {
		t.Errorf("the former secret: got %d, want 401", status)
	}
	if status, _, _ := c.as("canary-other-key-0123456789").post(map[string]any{"command": "deploy", "envs": []string{"VERSION=v1"}}); status != 200 {
		t.Errorf("the new secret: got %d, want 200", status)
	}
}
