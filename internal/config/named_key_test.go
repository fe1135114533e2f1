package config

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/sign"
)

// tables is a file with a key and an action, in which a test replaces one line.
const tables = `SECRET_KEY = "the-default-secret"
MAX_QUEUED = 1
[KEY.ops]
SECRET = "` + canary + `"
[ACTION.deploy]
RUN = "true"
`

func TestParse_NamedKeys(t *testing.T) {
	c := mustParse(t, `
SECRET_KEY = "default-secret"
AUDIT = "required"
[ACTION.deploy]
RUN = "true"
[ACTION.status]
RUN = ["/bin/true"]
[KEY.b-2_x]
SECRET = ["new", "old"]
ACTIONS = ["status", "deploy", "status"]
FROM = ["172.17.0.0/16", "unix", "192.0.2.7"]
EXPIRES = 2027-06-30
JOBS = "all"
MAX_RUNNING = 4
LIMITS = { OPEN_FILES = 64, PROCESSES = 50, MEMORY = 1073741824, CPU_TIME = "10m" }
[KEY.a]
SECRET_FILE = "/run/secret"
ACTIONS = []
EXPIRES = 2027-06-30T18:00:00+02:00
[KEY.c]
SECRET = "c"
JOBS = "own"
[KEY.d]
SECRET_FILE = "deploy.key"
EXPIRES = "2027-06-30"
[KEY.e]
SECRET = "e"
EXPIRES = "2027-06-30T18:00:00Z"
[KEY.f]
SECRET = "f"
EXPIRES = 9999-12-31
`)
	want := []NamedKey{
		{
			Key:        policy.Key{Name: "a", Actions: []string{}, Expires: time.Date(2027, 6, 30, 16, 0, 0, 0, time.UTC)},
			SecretFile: "/run/secret",
		},
		{
			Key: policy.Key{
				Name: "b-2_x", Actions: []string{"deploy", "status"},
				From:     []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("192.0.2.7/32")},
				FromUnix: true, Expires: time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC), AllJobs: true, MaxRunning: 4,
				Limits: exec.Limits{OpenFiles: 64, Processes: 50, Memory: 1 << 30, CPUTime: 10 * time.Minute},
			},
			Secrets: []Key{Key("new"), Key("old")},
		},
		{Key: policy.Key{Name: "c", AnyCommand: true}, Secrets: []Key{Key("c")}},
		{
			Key:        policy.Key{Name: "d", AnyCommand: true, Expires: time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)},
			SecretFile: "deploy.key",
		},
		{
			Key:     policy.Key{Name: "e", AnyCommand: true, Expires: time.Date(2027, 6, 30, 18, 0, 0, 0, time.UTC)},
			Secrets: []Key{Key("e")},
		},
		{ // RFC 3339 has no year 10000
			Key:     policy.Key{Name: "f", AnyCommand: true, Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
			Secrets: []Key{Key("f")},
		},
	}
	if !reflect.DeepEqual(c.NamedKeys, want) {
		t.Errorf("got  %+v\nwant %+v", c.NamedKeys, want)
	}
	if !c.AuditRequired {
		t.Error("got AUDIT best-effort, want required")
	}
	var got []string
	for _, s := range c.Secrets() {
		got = append(got, s.Name+" "+string(s.Key))
	}
	if want := []string{"default default-secret", "b-2_x new", "b-2_x old", "c c", "e e", "f f"}; !reflect.DeepEqual(got, want) {
		t.Errorf("secrets: got %q, want %q", got, want)
	}
}

// Public keys of the tests; nobody has their private keys.
const (
	public1 = "s76P7eJ7nsRrkvaHQKr8Z8uZvsj6e2bLTv8TmISi/bQ="
	public2 = "APLj9dcTapB3NRs8kaEFor14vCcylmL+KPIdT9Vexi4="
)

func TestParse_PublicKeys(t *testing.T) {
	c := mustParse(t, "[KEY.a]\nPUBLIC_KEYS = '"+public1+"'\n[KEY.b]\nSECRET = 'x'\nPUBLIC_KEYS = ['"+public2+"']")
	if len(c.Secrets()) != 1 || len(c.NamedKeys) != 2 || len(c.NamedKeys[0].Secrets) != 0 {
		t.Fatalf("got %+v, want two keys, the second with a secret", c.NamedKeys)
	}
	for i, want := range []string{public1, public2} {
		if got := c.NamedKeys[i].PublicKeys; len(got) != 1 || sign.KeyID(got[0]) != want {
			t.Errorf("key %d: got %v, want %s", i, got, want)
		}
	}
	c = mustParse(t, "[KEY.a]\nPUBLIC_KEYS = ['"+public1+"', '"+public2+"']")
	if n := len(c.NamedKeys[0].PublicKeys); n != 2 {
		t.Errorf("got %d public keys, want both of the rotation", n)
	}
}

func TestParse_SecretKeyMayBeLeftOut(t *testing.T) {
	if c := mustParse(t, "[KEY.a]\nSECRET = 'x'"); len(c.Keys) != 0 || len(c.Secrets()) != 1 {
		t.Errorf("got %v, want the secret of the one key", c)
	}
	wantRefused(t, []refusal{
		{"[KEY]", "SECRET_KEY is missing"},
		{"KEY = {}", "SECRET_KEY is missing"},
		{"[ACTION.a]\nRUN = 'x'", "SECRET_KEY is missing"},
	})
}

func TestParse_FaultsOfNamedKeys(t *testing.T) {
	key := func(lines ...string) string {
		return tables + "[KEY.deploy]\n" + strings.Join(lines, "\n") + "\n"
	}
	const secret = "SECRET = 'k'"
	many := strings.Builder{}
	for i := range 101 {
		many.WriteString("[KEY.k" + strconv.Itoa(i) + "]\nSECRET = 'secret" + strconv.Itoa(i) + "'\n")
	}
	seventeen := strings.Repeat("'10.0.0.0/8',", 17)
	wantRefused(t, []refusal{
		// Names.
		{tables + "[KEY.Deploy]\n" + secret, "f: line 7, column 2: the name of a key must be 1 to 32 of a-z"},
		{tables + "[KEY.7]\n" + secret, "the name of a key must be 1 to 32"},
		{tables + "[KEY." + strings.Repeat("a", 33) + "]\n" + secret, "the name of a key must be 1 to 32"},
		{tables + "[KEY.'" + canary + "']\n" + secret, "the name of a key must be 1 to 32"},
		{tables + "[KEY.default]\n" + secret, "f: line 7, column 2: KEY.default is a reserved name"},
		{tables + "[KEY.first]\n" + secret, "KEY.first is a reserved name"},
		{tables + "[KEY.last]\n" + secret, "KEY.last is a reserved name"},
		{tables + many.String(), "KEY has 102 tables, and at most 100 are possible"},
		{"KEY = '" + canary + "'", "f: line 1, column 1: KEY must be a table for each key, such as [KEY.deploy]: write KEY = { deploy ="},
		{"KEY." + "x = '" + canary + "'", "KEY must have a table for a key: write [KEY.deploy]"},
		{"[[KEY]]\na = 1", "KEY must be a table for each key"},
		{"[[KEY.a]]\n" + secret, "KEY must have a table for a key"},
		// Names of keys of the table.
		{key(secret, "ACTION = ['deploy']"), "f: line 9, column 1: KEY.deploy: ACTION is not a key of this table: did you mean ACTIONS?"},
		{key(secret, "FORM = ['unix']"), "did you mean FROM?"},
		{key(secret, "'"+canary+"' = 1"), "f: line 9, column 1: KEY.deploy: this key is unknown in this table: remove it, or write one of SECRET, SECRET_FILE, PUBLIC_KEYS, ACTIONS, FROM, EXPIRES, JOBS, MAX_RUNNING, LIMITS"},
		{key(secret, "MAX_BODY = 1"), "KEY.deploy: MAX_BODY is no key of this table: write it above the first line in brackets"},
		{key(secret, "LIMITS = { MEMROY = 1 }"), "f: line 9, column 12: KEY.deploy: LIMITS: MEMROY is not a key of this table: did you mean MEMORY?"},
		{key(secret, "[KEY.deploy.LIMITS]", "CPU_TIME = 5"), `f: line 10, column 1: KEY.deploy: LIMITS: CPU_TIME must be a duration in double quotes, from 0s to 168h: write CPU_TIME = "5s"`},
		{key(secret, "LIMITS = 5"), "KEY.deploy: LIMITS must be a table of limits: write LIMITS = {"},
		{key(secret, "LIMITS.OPEN_FILES = 1048577"), "OPEN_FILES must be a whole number without quotes, from 0 to 1048576"},
		{key(secret, "LIMITS.PROCESSES = -1"), "PROCESSES must be a whole number without quotes, from 0 to 4194304"},
		{key(secret, "LIMITS.MEMORY = '1G'"), "from 8388608 to 70368744177664: write MEMORY = 1073741824"},
		// SECRET, SECRET_FILE.
		{key(), "f: line 7, column 2: KEY.deploy: SECRET is missing: write SECRET = \"a long random text\", or SECRET_FILE"},
		{key("SECRET = ''"), "f: line 8, column 1: KEY.deploy: SECRET is empty"},
		{key("SECRET = 5"), "KEY.deploy: SECRET must be a text in double quotes, or an array of two"},
		{key("SECRET = []"), "SECRET must hold one secret or 2"},
		{key("SECRET = ['a', 'b', '" + canary + "']"), "SECRET must hold one secret or 2"},
		{key("SECRET = ['" + canary + "1', '" + canary + "1']"), "SECRET holds the same key twice"},
		{key("SECRET = '127.0.0.1:8099'"), "SECRET holds listening addresses"},
		{key("SECRET = \"" + canary + "\\n\""), "SECRET holds a line break"},
		{key("SECRET = '" + strings.Repeat("k", 1025) + "'"), "longer than 1024 bytes"},
		{key(secret, "SECRET_FILE = '/x'"), "f: line 9, column 1: KEY.deploy: SECRET_FILE is of no use together with SECRET"},
		{key("SECRET_FILE = 'a/b'"), "SECRET_FILE must be an absolute path in double quotes, or the name of a credential"},
		{key("SECRET_FILE = '..'"), "SECRET_FILE must be"},
		{key("SECRET_FILE = ''"), "SECRET_FILE must be"},
		{key("SECRET_FILE = ['/a']"), "SECRET_FILE must be"},
		{key("SECRET = '" + canary + "'"), "f: line 4, column 1: KEY.ops has the same secret as KEY.deploy: give each key its own"},
		{key("SECRET = 'the-default-secret'"), "f: line 8, column 1: KEY.deploy has the same secret as SECRET_KEY"},
		// PUBLIC_KEYS.
		{key("PUBLIC_KEYS = 5"), "KEY.deploy: PUBLIC_KEYS must be a public key in double quotes, or an array of two while it is rotated: write PUBLIC_KEYS = "},
		{key("PUBLIC_KEYS = []"), "f: line 8, column 1: KEY.deploy: PUBLIC_KEYS must hold one public key or 2"},
		{key("PUBLIC_KEYS = ['" + public1 + "', '" + public2 + "', 'x']"), "PUBLIC_KEYS must hold one public key or 2"},
		{key("PUBLIC_KEYS = ''"), "PUBLIC_KEYS must be the base64 of 32 bytes"},
		{key("PUBLIC_KEYS = '" + canary + "'"), "PUBLIC_KEYS must be the base64 of 32 bytes"},
		{key("PUBLIC_KEYS = 'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='"), "PUBLIC_KEYS is a point of small order"},
		{key("PUBLIC_KEYS = 'AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='"), "PUBLIC_KEYS is no Ed25519 public key"},
		{key("PUBLIC_KEYS = ['" + public1 + "', '" + public1 + "']"), "f: line 8, column 1: KEY.deploy has the same public key twice: leave one out"},
		{key("PUBLIC_KEYS = '"+public1+"'", "[KEY.z]", "PUBLIC_KEYS = '"+public1+"'"), "f: line 10, column 1: KEY.z has the same public key as KEY.deploy: give each key its own"},
		{key("PUBLIC_KEYS = '"+public1+"'", "[KEY.a]", "SECRET = '"+public1+"'"), "KEY.deploy has the same public key as KEY.a"},
		{"SIGNED_HOSTS = 5\n" + tables, "SIGNED_HOSTS must be one text in double quotes, hosts separated by commas"},
		{"SIGNED_HOSTS = 'a,http://" + canary + "'\n" + tables, "f: line 1, column 1: SIGNED_HOSTS host 2 of 2 must be a name or an IP address"},
		// ACTIONS.
		{key(secret, "ACTIONS = 'deploy'"), `ACTIONS must be an array of names of actions in double quotes: write ACTIONS = ["deploy"]`},
		{key(secret, "ACTIONS = [5]"), "ACTIONS must be an array"},
		{key(secret, "ACTIONS = ['deplyo']"), "f: line 9, column 1: KEY.deploy: ACTIONS has deplyo, and there is no such action: did you mean deploy?"},
		{key(secret, "ACTIONS = ['deploy', '"+canary+"', 'x']"), "ACTIONS has 2 of no action: write a table [ACTION.name] for each, or one of deploy"},
		{"[KEY.a]\nSECRET = 'a'\nACTIONS = ['b']", "KEY.a: ACTIONS is a list of names, and there is no action: write a table"},
		// FROM.
		{key(secret, "FROM = '10.0.0.0/8'"), `FROM must be an array of networks in double quotes, and "unix"`},
		{key(secret, "FROM = []"), "FROM must be an array"},
		{key(secret, "FROM = ['unix', '"+canary+"']"), "FROM network 2 of 2 must be a network or an IP address"},
		{key(secret, "FROM = ['10.0.0.1/8']"), "write 10.0.0.0/8 for the network"},
		{key(secret, "FROM = ["+seventeen+"]"), "FROM lists more than 16 networks"},
		// EXPIRES.
		{key(secret, "EXPIRES = 20270630"), "EXPIRES must be a date such as 2027-06-30, or a time with its offset such as 2027-06-30T18:00:00+02:00: write EXPIRES = 2027-06-30"},
		{key(secret, "EXPIRES = 2027-06-30T18:00:00"), "EXPIRES must be a date"},
		{key(secret, "EXPIRES = 18:00:00"), "EXPIRES must be a date"},
		{key(secret, "EXPIRES = '30.06.2027'"), "EXPIRES must be a date"},
		{key(secret, "EXPIRES = 2027-13-45"), "f: line 9, column 16: EXPIRES must be a date"},
		{key(secret, "EXPIRES = 30.06.2027"), "EXPIRES must be a date"},
		{key(secret, "EXPIRES = 0001-01-01T00:00:00Z"), "EXPIRES must be a date"}, // the zero time
		{key(secret, "EXPIRES = 0000-12-31"), "EXPIRES must be a date"},
		{key(secret, "EXPIRES = '2027-06-31'"), "EXPIRES must be a date"},
		// JOBS, MAX_RUNNING, AUDIT.
		{key(secret, "JOBS = 'every'"), `JOBS must be "own" or "all": write JOBS = "own"`},
		{key(secret, "JOBS = all"), `JOBS must be "own" or "all"`},
		{key(secret, "JOBS = true"), `JOBS must be "own" or "all"`},
		{key(secret, "MAX_RUNNING = 0"), "MAX_RUNNING must be a whole number without quotes, from 1 to 10000: write MAX_RUNNING = 4"},
		{key(secret, "MAX_RUNNING = 10001"), "from 1 to 10000"},
		{"AUDIT = true\n" + tables, `f: line 1, column 1: AUDIT must be "best-effort" or "required": write AUDIT = "best-effort"`},
		{"AUDIT = required\n" + tables, `AUDIT must be "best-effort" or "required"`},
		// Syntax.
		{key(secret, "[KEY.deploy]"), "f: line 9, column 2: is the line of a table that is there already: join the two tables"},
		{key(secret, "[KEY.other"), "is no valid line of a table: write for example [KEY.deploy]"},
		{key(secret, "SECRET = '"+canary+"'"), "f: line 9, column 1: SECRET is given a second time"},
		{key("SECRET = [\"" + canary + "\""), "f: line"},
		{key("SECRET = [" + canary + "]"), `SECRET is not a valid array: write SECRET = ["new key", "old key"]`},
		{key("SECRET = " + canary), "SECRET must be a text in double quotes"},
		{key("SECRET = \"" + canary), "SECRET has no closing quote"},
		{key("LIMITS = { OPEN_FILES = many }"), "LIMITS must be a table of limits"},
	})
}

// All faults are reported, in the order of the file within each section.
func TestParse_JoinsFaultsOfTables(t *testing.T) {
	_, err := Parse("f", []byte("[KEY.z]\nSECRET = 1\nJOBS = 2\n[KEY.a]\nSECRETS = 'x'\n[ACTION.x]\nRUNS = 'x'\nTIMEOUT = 1\n"))
	if err == nil {
		t.Fatal("got none, want errors")
	}
	var got []string
	for _, line := range strings.Split(err.Error(), "\n") {
		before, _, _ := strings.Cut(line, ": write")
		got = append(got, before)
	}
	want := []string{
		"f: line 2, column 1: KEY.z: SECRET must be a text in double quotes, or an array of two such texts while the secret is rotated",
		`f: line 3, column 1: KEY.z: JOBS must be "own" or "all"`,
		"f: line 4, column 2: KEY.a: SECRET is missing",
		"f: line 5, column 1: KEY.a: SECRETS is not a key of this table: did you mean SECRET?",
		"f: line 6, column 2: ACTION.x: RUN is missing",
		"f: line 7, column 1: ACTION.x: RUNS is not a key of this table: did you mean RUN?",
		"f: line 8, column 1: ACTION.x: TIMEOUT must be a duration in double quotes, from 1ms to 168h",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// KEY and ACTION are tables alone, so variables and original configurations may use these names.
func TestParse_VariableNamedKey(t *testing.T) {
	c := mustParse(t, "SECRET_KEY='k'\n[ENVIRONMENT]\nKEY='a'\nACTION='b'")
	if len(c.Environment) != 2 {
		t.Errorf("got %d variables, want 2", len(c.Environment))
	}
	if !HasShellForm([]byte("BIND=x\nKEY=y\n")) {
		t.Error("got false, want an original configuration with a variable KEY")
	}
}
