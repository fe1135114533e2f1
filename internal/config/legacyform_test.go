package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestIsLegacy(t *testing.T) {
	for _, test := range []struct {
		text   string
		legacy bool
	}{
		{"BIND=127.0.0.1:8099\nSECRET_KEY=abc\n", true},
		{"SECRET_KEY='abc'\nBIND=127.0.0.1:8099", true},
		{"# c\r\n\r\n  export SECRET_KEY=\"abc\" # d\r\n", true},
		// valid TOML, but a number was never a key of ours
		{"SECRET_KEY=12345678\nBIND=\"127.0.0.1:8099\"\n", true},
		{"SECRET_KEY=2026-11-23\n", true},
		{"SECRET_KEY=\nLOG_LEVEL=debug\n", true},
		{"SECRET_KEY=$(cat /key)\n", true}, // refused, but as what it is

		{"BIND=\"127.0.0.1:8099\"\nSECRET_KEY=\"abc\"\n", false},
		{"BIND=\"0.0.0.0.8099\"\nSECRET_KEY=\"abc\"\nUNKNOWN=1\n", false},
		{"SECRET_KEY=[\"a\", \"b\"]\n", false},
		{"SECRET_KEY=[\"a\" \"b\"]\nBIND = 127.0.0.1:8099", false},
		// to a shell a command, and no assignment
		{"BIND = 127.0.0.1:8099\nSECRET_KEY=abc\n", false},
		{"BIND= 127.0.0.1:8099\n", false},
		// a key of ours alone: somebody edits our file
		{"SECRET_KEY=abc\nCOMMAND_TIMEOUT=30s\n", false},
		{"SECRET_KEY=abc\n[server]\n", false},
		{"SECRET_KEY=abc\nBIND: 127.0.0.1:8099\n", false},
		{"\ufeffSECRET_KEY=abc\n", false},
		{"LOG_LEVEL=debug\n", false},
		{"", false},
		{"# nothing\n", false},
	} {
		if got := IsLegacy([]byte(test.text)); got != test.legacy {
			t.Errorf("%q: got %t, want %t", test.text, got, test.legacy)
		}
	}
}

func TestParse_LegacyFile(t *testing.T) {
	const advice = "run dataflux-func-sidecar configure (or install.sh), which rewrites it and " +
		"keeps a backup"
	for text, told := range map[string]bool{
		"BIND=127.0.0.1:8099\nSECRET_KEY=" + canary + "\n": true,
		"SECRET_KEY=12345678\n":                            true,
		"SECRET_KEY=$KEY\n":                                true, // configure explains the line
		"SECRET_KEY=" + canary + "\nALLOW_SUDO=True\n":     false,
		"TIMEOUT=1\nSECRET_KEY=\"" + canary + "\"\n":       false,
	} {
		_, err := Parse("f", []byte(text))
		if err == nil || strings.Contains(err.Error(),
			advice) != told || strings.Contains(fmt.Sprintf("%+v", err), canary) {
			t.Errorf("%q: got %v, want the advice %t and no key", text, err, told)
		}
	}
}
