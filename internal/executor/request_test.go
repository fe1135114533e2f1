package executor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
)

func TestDecodeShell_Valid(t *testing.T) {
	tom := []exec.Variable{{Name: "MY_NAME", Value: "Tom"}}
	cases := map[string]shellRequest{
		`{"command":"hostname","wait":true}`: {command: "hostname", wait: true},
		`{"command":"x","wait":false,"workdir":"\/home\/dev","envs":["MY_NAME=Tom"]}`: {
			command: "x", workdir: "/home/dev", envs: tom,
		},
		`{"command":"x","envs":{"MY_NAME":"Tom"}}`: {command: "x", wait: true, envs: tom},
		`{"command":"echo \u4f60\u597d"}`:          {command: "echo 你好", wait: true},
		`{"command":"x","envs":null,"workdir":null,"callbackURL":null,"wait":null}`: {
			command: "x", wait: true,
		},
		`{"command":"x","keep":false}`: {command: "x", wait: true, transient: true},
		`{"command":"x","keep":null}`:  {command: "x", wait: true},
		`{"command":"x","envs":["A=b=c","B="],"timeout":0.5}`: {
			command: "x", wait: true, timeout: 500 * time.Millisecond,
			envs: []exec.Variable{{Name: "A", Value: "b=c"}, {Name: "B"}},
		},
		"{\"command\":\"echo \ufffd \\ufffd\"}": {command: "echo \ufffd \ufffd", wait: true},
	}
	for body, want := range cases {
		if got, err := decodeShell([]byte(body)); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

func TestDecodeShell_Invalid(t *testing.T) {
	cases := map[string]string{
		``:                               "not valid JSON",
		`null`:                           "not a JSON object",
		`[]`:                             "not a JSON object",
		`{"command":"x"} {}`:             "not valid JSON",
		`{"command":"x"`:                 "not valid JSON",
		`{}`:                             "command is missing",
		`{"command":""}`:                 "command is missing",
		`{"command":1}`:                  "command: must be a string",
		`{"Command":"x"}`:                `unknown key "Command"`,
		`{"command":"x","timout":1}`:     `unknown key "timout"`,
		`{"command":"x","command":"y"}`:  "there twice",
		`{"command":"x","command":null}`: "there twice",
		`{"command":"x","labels":{"a":"1","\u0061":"2"}}`:    `the key "a" is there twice`,
		`{"command":"x","envs":{"A":"1","A":"2"}}`:           `the key "A" is there twice`,
		`{"command":"x","limits":{"memory":1,"memory":1}}`:   `the key "memory" is there twice`,
		`{"command":"x","envs":{"A":{"B":1,"B":2}}}`:         "must be a string",
		`{"command":"x" "wait":true}`:                        "not valid JSON",
		`{"command":"x",}`:                                   "not valid JSON",
		`{"command":` + strings.Repeat("[", 20000) + `}`:     "not valid JSON",
		`{"command":"x","wait":"yes"}`:                       "wait: must be true or false",
		`{"command":"x","envs":"A=1"}`:                       "envs: must be a list",
		`{"command":"x","envs":["A"]}`:                       "entry 1 is not of the form",
		`{"command":"x","envs":["=1"]}`:                      "entry 1 is not of the form",
		`{"command":"x","envs":[1]}`:                         "entry 1 must be a string",
		`{"command":"x","envs":{"A":1}}`:                     `the value of "A" must be a string`,
		`{"command":"x","timeout":0}`:                        "timeout: must be 0.001 to 604800",
		`{"command":"x","timeout":-1}`:                       "timeout: must be",
		`{"command":"x","timeout":1e18}`:                     "timeout: must be",
		`{"command":"x","timeout":"5"}`:                      "timeout: must be a number",
		`{"command":"x","callbackURL":"file:///etc/passwd"}`: "must begin with http",
		`{"command":"x","limits":{"memory":-1}}`:             "limits: memory: must be a whole number",
		`{"command":"x","limits":{"cpuTime":1e300}}`:         "limits: cpuTime: must be 0 to",
		`{"command":"x","limits":5}`:                         "limits: must be an object",
		`{"command":"x","jobId":"a b"}`:                      "jobId: must be 1 to 64 letters",
		`{"command":"x","jobId":""}`:                         "jobId: must be 1 to 64 letters",
		`{"command":"x","callbackURL":"http://h/` + strings.Repeat("é",
			4000) + `"}`: "is longer than",
		`{"command":"x","callbackURL":"http://h/?` + strings.Repeat(`\"`,
			3000) + `"}`: "is longer than",
		`{"command":"x","callbackURL":"http://h:65536/"}`:          "port that is not",
		`{"command":"x","callbackURL":"http:///x"}`:                "has no host",
		`{"command":"x","callbackURL":"http://a;reboot;b/"}`:       "characters that no name",
		`{"command":"x","callbackURL":"http://$(reboot)/"}`:        "characters that no name",
		`{"command":"x","callbackURL":"http://a%C2%9Bb/"}`:         "characters that no name",
		`{"command":"x","callbackURL":"http://a\u202eb/"}`:         "characters that no name",
		`{"command":"x","callbackURL":"http://[fe80::1%25eth0]/"}`: "give the interface's number",
		`{"command":"x","callbackURL":"http://a b/"}`:              "not a valid URL",
		`{"command":"\ud800"}`:                                     "half of a surrogate pair",
		"{\"command\":\"\xff\"}":                                   "not UTF-8",
	}
	for body, want := range cases {
		if _, err := decodeShell([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

func TestDecodeShell_CallbackURLIsEscaped(t *testing.T) {
	for given, want := range map[string]string{
		"http://h/a b?c d=é&e=%20#f": "http://h/a%20b?c%20d=%C3%A9&e=%20#f",
		`http://h/?a="<x>"`:          "http://h/?a=%22%3Cx%3E%22",
		"http://[fe80::1%254]:8/":    "http://[fe80::1%254]:8/",
	} {
		body, _ := json.Marshal(map[string]string{"command": "x", "callbackURL": given})
		if r, err := decodeShell(body); err != nil || r.callbackURL.String() != want {
			t.Errorf("%s: got %v, %v, want %s", given, r.callbackURL, err, want)
		}
	}
}

func TestDecodeShell_Escapes(t *testing.T) {
	for body, want := range map[string]string{
		`{"command":"printf '\\\\ufffd'"}`:     `printf '\\ufffd'`,
		`{"command":"\ufffd \uFFFD �"}`:        "\ufffd \ufffd \ufffd",
		`{"command":"\ud83d\ude00\u00e9\n\/"}`: "😀é\n/",
	} {
		if r, err := decodeShell([]byte(body)); err != nil || r.command != want {
			t.Errorf("%s: got %q, %v, want %q", body, r.command, err, want)
		}
	}
	for _, half := range []string{
		`\ud800`, `\udc00`, `\ud800x`, `\ud800\n`, `\ud800\u0041`, `\ud800\ud800\udc00`,
		`\\ufffd \ud800`, `\ude00\ud83d`,
	} {
		if _, err := decodeShell([]byte(`{"command":"` + half + `"}`)); err == nil ||
			!strings.Contains(err.Error(), "half of a surrogate pair") {
			t.Errorf("%s: got %v, want half of a surrogate pair", half, err)
		}
	}
}

// FuzzDecodeShell compares each body that is accepted with what encoding/json makes of it, which
// decodeShell must be stricter than.
func FuzzDecodeShell(f *testing.F) {
	for _, body := range []string{
		`{"command":"x","envs":["A=1"],"timeout":1,"callbackURL":"http://h/"}`,
		`{"command":"\ud83d\ude00","envs":{"A":"\ufffd","B":null}}`,
		`{"command":"a","limits":{"openFiles":1,"processes":2,"memory":3,"cpuTime":1.5e1}}`,
		`{"command":"a","jobId":"a-b","wait":false,"workdir":"/","x":null}`,
		`{"command":"\u0000\\\"\ud800","envs":[null,"a=b"]}`,
		`{"command":"a","timeout":1e999,"limits":{"memory":18446744073709551616}}`,
		`{"action":"deploy","labels":{"user":"alice","task":"\u00e9\u202e"}}`,
		`{"command":"","action":"a","labels":{"a":null}}`, `{"command":"a","labels":{"a":"1","A":"2"}}`,
		`{"command":"a","startWithin":1.5,"signal":"SIGINT","grace":0}`,
		`{"command":"a","secretEnvs":{"A":"12345678"},"envs":{"B":"12345678"}}`,
		`{"command":"12345678","secretEnvs":["A=12345678"],"traceparent":"` + string(exampleTrace) + `"}`,
		`{"command":"a","startWithin":1e-9,"signal":"STOP","grace":1e308}`,
		`{"command":"a","comm\u0061nd":"b"}`, `{"command":"a"}{}`, `{"command":[[[[[[]]]]]]}`,
		`{"command":"cat","stdin":"a\u0000b","labels":{"a":"b"}}`,
		`{"action":"a","stdinBase64":"AP8K","args":null}`,
		`{"script":"x","stdin":"","interpreter":["/a","b"],"args":["",null]}`,
		`{"scriptBase64":"eA==","args":["\ud83d\ude00"],"stdinBase64":"e\nA="}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeShell(body)
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(body, &want); err != nil || !utf8.Valid(body) {
			t.Fatalf("%q was accepted; encoding/json says %v", body, err)
		}
		if got, distinct := membersIn(body), membersOf(want); got != distinct {
			t.Fatalf("%q was accepted with %d keys, of which %d are distinct", body, got, distinct)
		}
		known := []string{
			"command", "wait", "workdir", "envs", "callbackURL", "timeout", "jobId", "limits",
			"keep", "action", "labels", "startWithin", "signal", "grace",
			"stdin", "stdinBase64", "script", "scriptBase64", "interpreter", "args",
			"secretEnvs", "traceparent",
		}
		for key, value := range want {
			if value != nil && !slices.Contains(known, key) {
				t.Fatalf("%q was accepted with the key %q", body, key)
			}
		}
		checkFuzzedInput(t, want, r.input)
		given := ""
		for key, decoded := range map[string]string{
			"command": r.command, "action": r.action, "script": string(r.script),
		} {
			if text, _ := want[key].(string); text != decoded && want["scriptBase64"] == nil {
				t.Fatalf("%q was decoded as %+v", body, r)
			}
			given += decoded
		}
		if given == "" || r.timeout < 0 || r.timeout > maxTimeout ||
			r.startWithin < 0 || r.startWithin > maxTimeout ||
			r.grace != nil && (*r.grace < 0 || *r.grace > maxGrace) ||
			r.limits.CPUTime < 0 || r.limits.CPUTime > maxTimeout {
			t.Fatalf("%q was decoded as %+v", body, r)
		}
		labels, _ := want["labels"].(map[string]any)
		maps.DeleteFunc(labels, func(_ string, value any) bool { return value == nil })
		if len(r.labels) > maxLabels || len(labels) != len(r.labels) {
			t.Fatalf("%q: the labels are %q", body, r.labels)
		}
		for name, value := range r.labels {
			if n := len([]rune(value)); labels[name] != value || n < 1 || n > maxLabel || strings.ContainsAny(value, "\x00\n\r\x1b\u2028\u202e") ||
				!regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`).MatchString(name) {
				t.Fatalf("%q: the label %q is %q", body, name, value)
			}
		}
		if wait, given := want["wait"].(bool); r.wait != (wait || !given) {
			t.Fatalf("%q: wait is %t", body, r.wait)
		}
		for _, v := range r.secretEnvs {
			if len(v.Value) < exec.MinSecret || strings.Contains(r.command+r.workdir+r.jobID, v.Value) {
				t.Fatalf("%q was accepted with a secret that is short or shown", body)
			}
		}
		lower := strings.ToLower(string(body))
		for _, v := range append(r.envs, exec.Variable{Name: r.command, Value: r.workdir}) {
			if strings.Contains(v.Name+v.Value, "\ufffd") && !strings.Contains(lower, `\ufffd`) &&
				!strings.Contains(lower, "\ufffd") {
				t.Fatalf("%q: a character was replaced silently", body)
			}
		}
	})
}

// checkFuzzedInput compares an input with what encoding/json made of the body.
func checkFuzzedInput(t *testing.T, want map[string]any, in input) {
	for key, decoded := range map[string][]byte{"stdin": in.stdin, "script": in.script} {
		text, plain := want[key].(string)
		encoded, inBase64 := want[key+"Base64"].(string)
		if inBase64 {
			bytes, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || plain {
				t.Fatalf("%q was accepted as %s, with %v", encoded, key, err)
			}
			text = string(bytes)
		}
		if text != string(decoded) {
			t.Fatalf("%s: got %q, want %q", key, decoded, text)
		}
	}
	for key, decoded := range map[string][]string{
		"interpreter": in.interpreter, "args": in.args,
	} {
		list, _ := want[key].([]any)
		if len(list) != len(decoded) || len(list) > 0 && in.script == nil {
			t.Fatalf("%s: got %q, want %q", key, decoded, list)
		}
		for i := range list {
			if list[i] != decoded[i] {
				t.Fatalf("%s: got %q, want %q", key, decoded, list)
			}
		}
	}
}

// membersIn counts the members of all objects in valid JSON: each has one colon outside of strings.
func membersIn(body []byte) (n int) {
	inString := false
	for i := 0; i < len(body); i++ {
		switch {
		case body[i] == '"':
			inString = !inString
		case body[i] == '\\':
			i++
		case body[i] == ':' && !inString:
			n++
		}
	}
	return n
}

// membersOf counts the members of all maps in a decoded value, which holds no key twice.
func membersOf(value any) (n int) {
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			n += 1 + membersOf(v)
		}
	case []any:
		for _, v := range value {
			n += membersOf(v)
		}
	}
	return n
}

// What holds for each key must not take longer with each: a body of a megabyte has a hundred
// thousand.
func BenchmarkDecodeShell_ManyVariables(b *testing.B) {
	for _, keys := range []int{1_000, 10_000, 100_000} {
		var body strings.Builder
		body.WriteString(`{"command":"x","envs":{"A":""`)
		for i := range keys {
			fmt.Fprintf(&body, `,"A%d":""`, i)
		}
		body.WriteString(`}}`)
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			for b.Loop() {
				if r, err := decodeShell([]byte(body.String())); err != nil ||
					len(r.envs) != keys+1 {
					b.Fatal(err)
				}
			}
		})
	}
}
