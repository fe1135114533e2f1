package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/check"
)

func TestCheck_FindingCannotSteerTheTerminal(t *testing.T) {
	const hostile = "\x1b[2J\x1b]0;t\a\u0085\u009b2J\x7f\u202e\u2028\rdataflux-func-sidecar: forged"
	for _, asJSON := range []bool{false, true} {
		var stdout bytes.Buffer
		r := &report{terminal: terminal{stdout: &output{to: &stdout}}, checkOptions: checkOptions{json: asJSON}}
		r.add(check.Finding{Check: "x", Level: check.OK, Message: hostile})
		r.finish()
		for _, c := range "\x1b\a\u0085\u009b\x7f\u202e\u2028\r" {
			if strings.ContainsRune(stdout.String(), c) {
				t.Errorf("got %U in %q", c, stdout.String())
			}
		}
		if asJSON && !json.Valid(stdout.Bytes()) {
			t.Errorf("got no JSON: %q", stdout.String())
		}
	}
}
