package config

import (
	"slices"
	"testing"
)

func TestChanges_NamesOfKeys(t *testing.T) {
	const key = "SECRET_KEY = \"a-key-of-sixteen-bytes\"\n"
	for _, test := range []struct {
		name, before, after string
		want                []string
	}{
		{"the same text", key, key, nil},
		{"another form of the same", key + `KILL_GRACE = "60s"`, "KILL_GRACE=\"1m\"\n" + key, nil},
		{"the default, written", key, key + `MAX_QUEUED = 0`, nil},
		{"a key", key, `SECRET_KEY = "another-key-of-many-bytes"`, []string{"SECRET_KEY"}},
		{
			"one added, one changed, one removed", key + "MAX_QUEUED = 1\nMAX_RUNNING = 2",
			key + "MAX_QUEUED = 2\nKEEP_TIME = \"2h\"",
			[]string{"MAX_RUNNING", "MAX_QUEUED", "KEEP_TIME"},
		},
		{"a variable", key + `ENVIRONMENT = { A = "1" }`, key + "[ENVIRONMENT]\nA = \"2\"", []string{"ENVIRONMENT"}},
		{
			"tables", key + "[KEY.a]\nSECRET='1'\n[KEY.b]\nSECRET='2'\n[KEY.c]\nSECRET='3'\n[ACTION.x]\nRUN='x'",
			key + "AUDIT='required'\n[KEY.d]\nSECRET='4'\n[KEY.c]\nSECRET='3'\n[KEY.b]\nSECRET='2'\nJOBS='all'\n" +
				"[ACTION.x]\nRUN='x'\nENVS={A='a|b'}\n[ACTION.y]\nRUN='y'",
			[]string{"AUDIT", "KEY.a", "KEY.b", "KEY.d", "ACTION.x", "ACTION.y"},
		},
		{
			"another form of the same tables", key + "[KEY.a]\nSECRET='1'\n[ACTION.x]\nRUN='x'\nENVS={A='a|b'}",
			"ACTION = { x = { RUN = \"x\", ENVS.A = 'a|b' } }\n" + key + "[KEY]\na.SECRET=['1']\na.JOBS='own'", nil,
		},
	} {
		if got := Changes([]byte(test.before), []byte(test.after)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
