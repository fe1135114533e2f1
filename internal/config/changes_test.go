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
	} {
		if got := Changes([]byte(test.before), []byte(test.after)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
