package executor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An answer that needs damaged bytes says so, instead of being cut off. One that begins after them
// is given: it does not read the output from the start.
func TestRestart_DamagedOutput(t *testing.T) {
	path := t.TempDir() + "/state"
	tail := func(o *Options) { o.Commands.MaxOutput, o.Commands.Tail = 512<<10, 128<<10 }
	r, die := lifeWith(t, path, tail)
	request := `{"command":"for c in a b c d e; do head -c 131072 /dev/zero | tr '\\0' $c; done",` +
		`"wait":false,"jobId":"j"}`
	r.shell(request)
	r.waitForState("j", "ended")
	die()
	r, _ = lifeWith(t, path, tail)
	damage := func(text string) {
		t.Helper()
		files, err := filepath.Glob(path + "/deliveries-*.log")
		for _, name := range files {
			var content []byte
			if content, err = os.ReadFile(name); err != nil {
				break
			}
			if at := bytes.Index(content, []byte(text)); at >= 0 {
				content[at]++
				err = os.WriteFile(name, content, 0o600)
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, method, path, body string, want bool, part string) {
		t.Helper()
		head, got := r.call(method, path, body)
		if want && (head.Status != 200 || !strings.Contains(got, part)) ||
			!want && (head.Status != 500 || !strings.Contains(got, "the record there is damaged")) {
			t.Errorf("%s: %s %s %s: got %d %.200s, want %t", when, method, path, body, head.Status,
				got, want)
		}
	}
	for _, step := range []struct {
		damage        string
		all, atC, atE bool
	}{
		{"", true, true, true},
		{strings.Repeat("b", 100), false, true, true},
		{strings.Repeat("e", 100), false, false, false},
	} {
		if step.damage != "" {
			damage(step.damage)
		}
		when := "damage in " + step.damage
		check(when, "GET", "/jobs/j", "", step.all, "aaa")
		check(when, "POST", "/shell", strings.Replace(request, "false", "true", 1), step.all, "aaa")
		check(when, "GET", "/jobs/j/events", "", step.all, "event: result")
		check(when, "GET", "/jobs/j/events", `{"after":"262144-0"}`, step.atC, "event: result")
		check(when, "GET", "/jobs/j/output", "", step.all, "aaa")
		check(when, "GET", "/jobs/j/output", `{"offset":262144}`, step.atC, "ccc")
		check(when, "GET", "/jobs/j/output", `{"offset":600000}`, step.atE, "eee")
		check(when, "GET", "/jobs/j/output", `{"from":"end","offset":1000}`, step.atE, "eee")
		check(when, "GET", "/jobs/j/output", `{"stream":"stderr"}`, true, "")
		check(when, "GET", "/jobs", "", true, `"jobId":"j"`)
	}
}
