package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const canary = "Kanarienvogel-4711-geheim"

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatalf("cannot parse %q: %v", text, err)
	}
	return c
}

func TestParse_EveryKey(t *testing.T) {
	c := mustParse(t, `
BIND = "[::1]:8200, /run/sidecar.sock" # a comment
SECRET_KEY = ["new-key", 'old"key$']
TLS_CERTIFICATE = "/srv/c.pem"
TLS_KEY = "/srv/k.pem"
TLS_ADDRESSES = "[::1]:8200"
SHELL = "/bin/bash"
WORKDIR = "/srv"
ENVIRONMENT = { HTTP_PROXY = "http://p:3128", "empty" = '', SHELL = "/bin/zsh" }
COMMAND_TIMEOUT = "168h"
KILL_GRACE = "0s"
DRAIN_TIMEOUT = "1h"
TIME_WINDOW = "1s"
CALLBACK_TIMEOUT = "10m"
CALLBACK_EXPIRY = "1m"
MAX_BODY = 1_024
MAX_OUTPUT = 0x10000000
OUTPUT_TAIL = 16777216
MAX_RUNNING = 10000
MAX_QUEUED = 5
KEEP_TIME = "2h"
KEEP_JOBS = 7
KEEP_BYTES = 9
MAX_CALLBACKS = 1
MAX_STATE = 16777216
LIMIT_OPEN_FILES = 1
LIMIT_PROCESSES = 2
LIMIT_MEMORY = 8388608
LIMIT_CPUS = 1.5
LIMIT_CPU_WEIGHT = 7
LIMIT_IO_WEIGHT = 10000
LIMIT_CPU_TIME = "4s"
TOTAL_MEMORY = 1073741824
TOTAL_PROCESSES = 6
END_BACKGROUND = true
ALLOW_SUDO = true
LOG_COMMANDS = false
`)
	bind, _ := ParseBind("[::1]:8200,/run/sidecar.sock")
	want := Config{
		Bind: bind, Keys: []Key{
			Key("new-key"),
			Key(`old"key$`),
		}, Shell: "/bin/bash", Workdir: "/srv",
		Environment: Environment{
			"HTTP_PROXY": "http://p:3128", "empty": "",
			"SHELL": "/bin/zsh",
		},
		TLSCertificate: "/srv/c.pem", TLSKey: "/srv/k.pem", TLSAddresses: bind[:1],
		CommandTimeout: 168 * time.Hour, KillGrace: 0, DrainTimeout: time.Hour, TimeWindow: time.Second,
		CallbackTimeout: 10 * time.Minute, CallbackExpiry: time.Minute,
		MaxBody: 1 << 10, MaxOutput: 256 << 20, OutputTail: 16 << 20, MaxRunning: 10_000, MaxQueued: 5, MaxCallbacks: 1, AllowSudo: true,
		KeepTime: 2 * time.Hour, KeepJobs: 7, KeepBytes: 9, MaxState: 16 << 20,
		LimitOpenFiles: 1, LimitProcesses: 2, LimitMemory: 8 << 20, LimitMilliCPU: 1500, LimitCPUWeight: 7, LimitIOWeight: 10000, TotalMemory: 1 << 30, TotalProcesses: 6, LimitCPUTime: 4 * time.Second, EndBackground: true,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestParse_Defaults(t *testing.T) {
	want := Default()
	want.Keys = []Key{Key("k")}
	for _, text := range []string{
		"SECRET_KEY='k'", "SECRET_KEY=\"k\"\r\n# Windows\r\n", "SECRET_KEY=['k']\nWORKDIR=\"\"",
		"SECRET_KEY=\"k\"\nBIND=\"127.0.0.1:8099,172.17.0.1:8099\"",
	} {
		if got := mustParse(t, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

// The end that is kept by default is half of a small MAX_OUTPUT: such a file stays valid.
func TestParse_OutputTail(t *testing.T) {
	for text, want := range map[string]int{
		"": 65536, "MAX_OUTPUT=1024": 512, "MAX_OUTPUT=131072": 65536, "MAX_OUTPUT=131071": 65535,
		"OUTPUT_TAIL=0": 0, "MAX_OUTPUT=1024\nOUTPUT_TAIL=512": 512, "OUTPUT_TAIL=4194304": 4 << 20,
	} {
		if got := mustParse(t, keyLine+text).OutputTail; got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// A function of DataFlux Func may run for 35 s and succeed; after its end it still has to be
// answered.
func TestDefault_CallbackTimeout(t *testing.T) {
	if got := Default().CallbackTimeout; got != time.Minute {
		t.Errorf("got %s, want 1m0s", got)
	}
}

const keyLine = "SECRET_KEY=\"" + canary + "\"\n"

type refusal struct{ text, want string }

func TestParse_SecretKey(t *testing.T) {
	wantRefused(t, []refusal{
		{"", `f: SECRET_KEY is missing: write SECRET_KEY = "a long random text", or run dataflux-func-sidecar configure`},
		{`SECRET_KEY=""`, "f: line 1, column 1: SECRET_KEY is empty: write a long random text"},
		{
			"\n  SECRET_KEY=5",
			`f: line 2, column 3: SECRET_KEY must be a text in double quotes, or an array`,
		},
		{"SECRET_KEY=[]", "must hold at least one key and at most 8"},
		{"SECRET_KEY=['a',1]", "SECRET_KEY must be a text in double quotes, or an array"},
		{
			"SECRET_KEY=['" + canary + "','b','" + canary + "']",
			"holds the same key twice, as number 1 and number 3",
		},
		{"SECRET_KEY=['1','2','3','4','5','6','7','8','9']", "at most 8"},
		{`SECRET_KEY="` + canary + `\n"`, "holds a line break"},
		{`SECRET_KEY="` + canary + `\u200b"`, "invisible character"},
		{`SECRET_KEY="` + strings.Repeat("k", 1025) + `"`, "longer than 1024 bytes"},
		{`SECRET_KEY="127.0.0.1:8099,172.17.0.1:8099"`, "SECRET_KEY holds listening addresses"},
		{"SECRET_KEY.a=1", "SECRET_KEY must be a text"},
	})
}

func TestParse_UnknownKey(t *testing.T) {
	wantRefused(t, []refusal{
		{
			keyLine + "BINDS=\"x\"",
			"f: line 2, column 1: BINDS is not a key of this file: did you mean BIND?",
		},
		{keyLine + "bind=\"127.0.0.1:1\"", "bind is not a key of this file: did you mean BIND?"},
		{keyLine + "SECRETKEY=1", "did you mean SECRET_KEY?"},
		{keyLine + "MAXBODY=1", "did you mean MAX_BODY?"},
		{keyLine + "NOTHING_LIKE=1", "line 2, column 1: this key or section is unknown: remove " +
			"it, or write one of BIND, METRICS_BIND, SECRET_KEY, CALLERS, SIGNED_HOSTS, TLS_CERTIFICATE,"},
		{keyLine + "[server]\nport=1", "line 2, column 2: this key or section is unknown"},
		{keyLine + canary + "=1", "line 2, column 1: this key or section is unknown"},
		{keyLine + "[SHELL]\na=1", "SHELL must be an absolute path"},
	})
}

func TestParse_TypesAndBounds(t *testing.T) {
	wantRefused(t, []refusal{
		{
			keyLine + "BIND=8099",
			`BIND must be one text in double quotes, addresses separated by commas: write BIND = "127.0.0.1:8099,172.17.0.1:8099"`,
		},
		{keyLine + "BIND=['127.0.0.1:8099']", "BIND must be one text in double quotes"},
		{
			keyLine + "BIND=\"0.0.0.0.8099\"",
			"line 2, column 1: BIND address 1 of 1 must be an IP address with a port",
		},
		{
			keyLine + "SHELL=\"bash\"",
			`SHELL must be an absolute path in double quotes: write SHELL = "/bin/sh"`,
		},
		{
			keyLine + "WORKDIR=\"/a\\u0000b\"",
			`WORKDIR must be an absolute path in double quotes: write WORKDIR = "/home/dffs"`,
		},
		{
			keyLine + "TIME_WINDOW=300",
			`TIME_WINDOW must be a duration in double quotes, from 1s to 1h: write TIME_WINDOW = "300s"`,
		},
		{keyLine + "TIME_WINDOW=\"300\"", `write TIME_WINDOW = "300s"`},
		{keyLine + "COMMAND_TIMEOUT=\"5\"", `write COMMAND_TIMEOUT = "5s"`},
		{keyLine + "COMMAND_TIMEOUT=60", `write COMMAND_TIMEOUT = "60s"`},
		{keyLine + "COMMAND_TIMEOUT=5m # short", `write COMMAND_TIMEOUT = "5m"`},
		{keyLine + "MAX_BODY=\"8M\"", "write MAX_BODY = 8388608"},
		{keyLine + "MAX_BODY=\"8 MB\"", "write MAX_BODY = 8388608"},
		{keyLine + "MAX_BODY=2MiB", "write MAX_BODY = 2097152"},
		{keyLine + "MAX_BODY=\"999999999999T\"", "write MAX_BODY = 1048576"},
		{keyLine + "MAX_RUNNING=\"64\"", "write MAX_RUNNING = 64"},
		{keyLine + "MAX_RUNNING=\"64K\"", "write MAX_RUNNING = 1024"},
		{keyLine + "TIME_WINDOW=\"61m\"", "TIME_WINDOW must be a duration"},
		{keyLine + "TIME_WINDOW=\"0s\"", "TIME_WINDOW must be a duration"},
		{keyLine + "COMMAND_TIMEOUT=\"-1s\"", `from 0s to 168h: write COMMAND_TIMEOUT = "0s"`},
		{keyLine + "COMMAND_TIMEOUT=\"7d\"", `from 0s to 168h: write COMMAND_TIMEOUT = "168h"`},
		{keyLine + "KILL_GRACE=\"11m\"", `from 0s to 10m: write KILL_GRACE = "5s"`},
		{keyLine + "CALLBACK_EXPIRY=\"24 h\"", `from 1m to 720h: write CALLBACK_EXPIRY = "24h"`},
		{keyLine + "MAX_BODY=\"1MiB\"", "MAX_BODY must be a whole number of bytes without " +
			"quotes, from 1024 to 16777216: write MAX_BODY = 1048576"},
		{keyLine + "MAX_BODY=1023", "from 1024 to 16777216"},
		{keyLine + "MAX_BODY=1e6", "a whole number of bytes"},
		{keyLine + "MAX_OUTPUT=268435457", "from 1024 to 268435456: write MAX_OUTPUT = 8388608"},
		{keyLine + "OUTPUT_TAIL=16777217", "from 0 to 16777216: write OUTPUT_TAIL = 65536"},
		{keyLine + "MAX_OUTPUT=4097\nOUTPUT_TAIL=2049", "f: line 3, column 1: OUTPUT_TAIL is more " +
			"than half of MAX_OUTPUT: write OUTPUT_TAIL = 2048 or less"},
		{keyLine + "OUTPUT_TAIL=4194305", "write OUTPUT_TAIL = 4194304 or less"},
		{keyLine + "MAX_RUNNING=0", "MAX_RUNNING must be a whole number without quotes, from 1 " +
			"to 10000: write MAX_RUNNING = 1024"},
		{keyLine + "MAX_CALLBACKS=100001", "from 1 to 100000: write MAX_CALLBACKS = 1000"},
		{
			keyLine + "MAX_CALLBACKS=99999999999999999999",
			"MAX_CALLBACKS must be a whole number without quotes, from 1 to 100000",
		},
		{
			keyLine + "ALLOW_SUDO=\"false\"",
			"ALLOW_SUDO must be true or false, without quotes: write ALLOW_SUDO = false",
		},
		{keyLine + "LOG_COMMANDS=1", "write LOG_COMMANDS = true"},
	})
}

func TestParse_InvalidTOML(t *testing.T) {
	wantRefused(t, []refusal{
		{
			"BIND=127.0.0.1:8099\n" + keyLine,
			"f: line 1, column 11: BIND must be one text in double quotes",
		},
		{"SECRET_KEY=" + canary, "SECRET_KEY must be a text in double quotes"},
		{
			"SECRET_KEY=\"" + canary + "\nBIND=\"127.0.0.1:1\"",
			"line 1, column 38: SECRET_KEY has no closing quote",
		},
		{
			"SECRET_KEY=\"" + canary + "\" \"more\"",
			"SECRET_KEY has something after its closing quote",
		},
		{"SECRET_KEY=\"" + canary + "\"x\"", "SECRET_KEY has something after its closing quote"},
		{"SECRET_KEY=\"" + canary + "\\$\"", "SECRET_KEY has a backslash in double quotes"},
		{"SECRET_KEY=[\"" + canary + "\"", "line 1, column"},
		{"SECRET_KEY=[" + canary + "]", `write SECRET_KEY = ["new key", "old key"]`},
		{"SECRET_KEY " + canary, "has no equals sign"},
		{canary, "line 1, column"},
		{"SECRET_KEY: \"" + canary + "\"", "has no equals sign"},
		{"SECRET_KEY＝\"" + canary + "\"", "has a fullwidth sign"},
		{"SECRET_KEY=“" + canary + "”", "has typographic or fullwidth quotes"},
		{"\ufeff" + keyLine, "line 1, column 1: starts with a byte order mark"},
		{"SECRET_KEY=\"" + canary + "\xff\"", "is not UTF-8"},
		{"export SECRET_KEY=\"" + canary + "\"", "starts with export: remove that word"},
		{"// a comment\n" + keyLine, "is no TOML comment: start comments with #"},
		{keyLine + "\n" + keyLine, "line 3, column 1: SECRET_KEY is given a second time"},
		{keyLine + "ALLOW_SUDO=True", "line 2, column 12: ALLOW_SUDO must be true or false"},
		{keyLine + "COMMAND_TIMEOUT=30s", "COMMAND_TIMEOUT must be a duration in double quotes"},
		{keyLine + "?=\"" + canary + "\"", "is not valid TOML: write NAME = value"},
		{keyLine + strings.Repeat("#", MaxFile), "is larger than 1048576 bytes"},
	})
}

// wantRefused wants a message that helps and does not show the key.
func wantRefused(t *testing.T, refusals []refusal) {
	t.Helper()
	for _, test := range refusals {
		_, err := Parse("f", []byte(test.text))
		if err == nil {
			t.Errorf("%.80q: got no error, want %s", test.text, test.want)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80q\n got %v\nwant %s", test.text, err, test.want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Errorf("%.80q: the error shows the key: %v", test.text, err)
		}
	}
}

func TestParse_JoinsErrorsInOrder(t *testing.T) {
	_, err := Parse("f", []byte("WORKDIR=1\nNONSENSE_NAME=1\nALLOW_SUDO=1\n"))
	if err == nil {
		t.Fatal("it was accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"f: line 1", "f: line 2", "f: line 3", "f: SECRET_KEY is missing"} {
		if len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("error %d: got\n%v\nwant %s", i+1, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"BIND=\"127.0.0.1:8099\"\n", "\nSHELL=\"/bin/sh\""},
		{"x=\"\"\"", "\"\"\""},
		{"", "\n[ENVIRONMENT]\nA=\"b\"\nSHELL.x=1"},
		{"ENVIRONMENT={A=\"b\",\n\"c d\".e=[{}]}\n", ""},
		{"[a]\n", "\n[[b]]\nc={d=1}"},
		{"'", "'=1"},
		{"BIND=\"\\u00e9", "\\"},
		{"A.B.C=[", "]"},
		{"=", "\xff"},
		{"", "\n[KEY.deploy]\nSECRET=\"a\"\nACTIONS=['x']\nFROM=['unix','10.0.0.0/8']\nEXPIRES=2027-06-30\n[ACTION.x]\nRUN='x'"},
		{"[KEY.deploy]\nSECRET=[\"a\",\"", "\"]\nLIMITS={MEMORY=1,CPU_TIME='1s'}"},
		{"KEY={a={SECRET='x',JOBS=\"all\"}}\n", "\nACTION.a.RUN=['/x','y']\nACTION.a.ENVS.V='[a-z]+'\nACTION.a.DEFAULTS.V=''"},
		{"[ACTION.a]\nRUN='x'\nENVS={V='a)|(b'}\n[KEY.", ".a]\nSECRET_FILE='x'"},
		{"SIGNED_HOSTS='a,[::1]:1'\n[KEY.a]\nPUBLIC_KEYS='s76P7eJ7nsRrkvaHQKr8Z8uZvsj6e2bLTv8TmISi/bQ='\n", ""},
		{"AUDIT='required'\nMAX_QUEUED=1\n", "\n[ACTION.a]\nRUN='x'\nONE_AT_A_TIME='wait'\n[ACTION.a]"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		text := before + "SECRET_KEY = \"" + canary + "\"" + after
		c, err := Parse("f", []byte(text))
		shown := fmt.Sprintf("%v %+v %#v %s %v", c, c, c, c.Keys, err)
		if strings.Contains(shown, canary) {
			t.Errorf("%q shows the key: %s", text, shown)
		}
		if err == nil && (len(c.Keys) == 0 && len(c.NamedKeys) == 0 || len(c.Bind) == 0 || !strings.HasPrefix(c.Shell,
			"/")) {
			t.Errorf("%q: got the unusable %+v", text, c)
		}
		if err == nil {
			checkTables(t, text, c)
		}
		checkEdit(t, []byte(text), err)
	})
}

// checkTables: whatever is accepted can be served.
func checkTables(t *testing.T, text string, c Config) {
	seen := map[string]bool{}
	for _, s := range c.Secrets() {
		if len(s.Key) == 0 || seen[string(s.Key)] {
			t.Errorf("%q: %s has an empty secret, or that of another", text, s.Name)
		}
		seen[string(s.Key)] = true
	}
	actions := map[string]bool{}
	for _, a := range c.Actions {
		actions[a.Name] = true
		if !sectionName.MatchString(a.Name) || (a.Text == "") == (len(a.Argv) == 0) {
			t.Errorf("%q: got the unusable action %+v", text, a)
		}
		for _, v := range a.Variables {
			if interpreted(v.Name) || !variableName.MatchString(v.Name) || v.Pattern.String() == "" {
				t.Errorf("%q: got the unusable variable %+v", text, v)
			}
		}
	}
	for _, k := range c.NamedKeys {
		hasSecret := (k.SecretFile == "") != (len(k.Secrets) == 0)
		if !sectionName.MatchString(k.Name) || k.Name == "default" || !hasSecret && (len(k.PublicKeys) == 0 || k.SecretFile != "") {
			t.Errorf("%q: got the unusable key %+v", text, k)
		}
		for _, action := range k.Actions {
			if !actions[action] || k.AnyCommand {
				t.Errorf("%q: %s may run %s", text, k.Name, action)
			}
		}
	}
}

// checkEdit: whatever Set accepts to edit says afterwards what was asked for.
func checkEdit(t *testing.T, text []byte, parseErr error) {
	edited, err := Set("f", text, "SECRET_KEY", "another")
	if err != nil || parseErr != nil {
		return
	}
	c, err := Parse("f", edited)
	if err != nil || len(c.Keys) != 1 || string(c.Keys[0]) != "another" {
		t.Errorf("%q: got %q, %v, want a file with the one key", text, edited, err)
	}
}

func TestParse_MetricsBind(t *testing.T) {
	const before = "SECRET_KEY = \"0123456789abcdef\"\nBIND = \"127.0.0.1:1,0.0.0.0:2\"\nMETRICS_BIND = "
	for _, test := range []struct{ value, want string }{ // want is of the error, or of the addresses
		{`""`, ""},
		{`"127.0.0.1:18099, /run/m.sock"`, "127.0.0.1:18099,/run/m.sock"},
		{`"[::1]:1"`, "[::1]:1"},
		{`"127.0.0.1:18099,127.0.0.1:1"`, "line 3, column 1: METRICS_BIND address 2 of 2 is one of BIND already: write another port"},
		{`"192.0.2.7:2"`, "METRICS_BIND address 1 of 1 is one of BIND already"},
		{`"18099"`, "METRICS_BIND address 1 of 1 must be an IP address with a port"},
	} {
		c, err := Parse("f", []byte(before+test.value))
		got := JoinBind(c.MetricsBind)
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s: got %q, want %q", test.value, got, test.want)
		}
	}
}
