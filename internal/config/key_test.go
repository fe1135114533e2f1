package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKey_NeverPrints(t *testing.T) {
	c := Default()
	c.Keys, c.Environment = []Key{Key(canary)}, Environment{"TOKEN": canary}
	c.NamedKeys = []NamedKey{{Secrets: []Key{Key(canary)}}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", c.Keys[0], "keys", c.Keys, "value",
		c.Environment["TOKEN"], "environment", c.Environment, "config", c, "named", c.NamedKeys, "secrets", c.Secrets())
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", c.Keys[0], "config", c)
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	log.Write(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%c", "%U", "% x"} {
		fmt.Fprintf(&log, strings.Repeat(verb, 8)+"\n", c, &c, c.Keys, c.Keys[0],
			c.Environment, c.Environment["TOKEN"], c.NamedKeys, c.Secrets())
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary)), "S2FuYXJp"} {
		if strings.Contains(log.String(), form) {
			t.Errorf("got the key as %q:\n%s", form, log.String())
		}
	}
	if got := fmt.Sprintf("%v",
		c.Keys[0]); got != "[secret]" || got != c.Keys[0].String() || got != c.Keys[0].GoString() {
		t.Errorf("got %q, want [secret]", got)
	}
	if v := c.Environment["TOKEN"]; v.String() != "[secret]" || v.GoString() != "[secret]" {
		t.Errorf("got %q and %q, want [secret]", v.String(), v.GoString())
	}
}

func TestNewKey(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		key := string(NewKey())
		if len(key) != 32 || strings.Trim(key,
			"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || seen[key] {
			t.Fatalf("got %q, want 32 fresh characters of 5 bits each", key)
		}
		seen[key] = true
	}
}

func TestKey_Doubt(t *testing.T) {
	for text, want := range map[string]string{
		`SECRET_KEY = "0123456789abcdef"`: "as if a whole line was pasted",
		"{{ sidecar_secret_key }}":        "a template was not filled in",
		"${SIDECAR_KEY}0123456789":        "a template was not filled in",
		"0123456789 abcdef":               "holds a blank",
		"0123456789abcdef ":               "holds a blank",
	} {
		got := Key(text).Doubt()
		if !strings.Contains(got, want) || strings.Contains(got, "0123") || strings.Contains(got, "sidecar_") {
			t.Errorf("%s: got %q, want %q in it, and nothing of the key", text, got, want)
		}
	}
	for range 100 {
		if got := NewKey().Doubt(); got != "" {
			t.Errorf("got %q, want no doubt about a generated key", got)
		}
	}
}
