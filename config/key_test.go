package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestAKeyNeverPrints(t *testing.T) {
	c := Default()
	c.Keys = []Key{Key(canary)}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", c.Keys[0], "keys", c.Keys, "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", c.Keys[0], "config", c)
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	log.Write(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%c", "%U", "% x"} {
		fmt.Fprintf(&log, verb+verb+verb+verb+"\n", c, &c, c.Keys, c.Keys[0])
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary)), "S2FuYXJp"} {
		if strings.Contains(log.String(), form) {
			t.Errorf("the key is shown as %q:\n%s", form, log.String())
		}
	}
	if got := fmt.Sprintf("%v", c.Keys[0]); got != "[secret]" || got != c.Keys[0].String() || got != c.Keys[0].GoString() {
		t.Errorf("the placeholder is %q", got)
	}
}

func TestANewKeyPastesWell(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		key := string(NewKey())
		if len(key) != 32 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || seen[key] {
			t.Fatalf("%q is not 32 fresh characters of 5 bits each", key)
		}
		seen[key] = true
	}
}
