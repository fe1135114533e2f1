package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// bounds are the keywords of a schema that refuse values of the right type.
var bounds = []string{
	"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "pattern", "enum", "const",
	"additionalProperties", "required", "not",
}

// The schema of each body and the program accept and refuse the same, at each bound and just
// beyond. A bound that no refused probe proves fails the test.
func TestOpenAPIDocument_Bounds(t *testing.T) {
	t.Parallel()
	a := openAPIDocument(t)
	d := startDaemon(t, "MAX_RUNNING = 50", "MAX_CALLBACKS = 100", `KILL_GRACE = "1s"`)
	for _, p := range append(a.acceptedProbes(), refusedProbes()...) {
		method, path, _ := strings.Cut(p.operation, " ")
		schema := a.follow(below("#/paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema"))
		err := a.validate(schema, fromJSON(t, jsonOf(p.body)))
		accepted, answer := p.accepted(d)
		if text := fmt.Sprintf("%.200s", jsonOf(p.body)); accepted != (err == nil) || !accepted && answer.status != 400 {
			t.Errorf("%s %s: the program answers %d %.300s, the document says %v", p.operation, text, answer.status, answer.body, err)
		}
		a.markBounds(err)
	}
	for _, name := range []string{"ShellRequest", "Limits", "OutputRequest", "EventsRequest", "SignalRequest", "Labels", "JobId", "Traceparent", "EventId", "EndSignal", "SentSignal"} {
		a.walk(below("#/components/schemas", name), func(pointer string, o map[string]any) {
			if strings.HasSuffix(pointer, "/properties") || strings.HasSuffix(pointer, "/not") {
				return // names of keys; a refused body names the not
			}
			for _, keyword := range bounds {
				_, isSchema := o[keyword].(map[string]any) // the values of a map, whose own bounds count
				if o[keyword] != nil && (keyword == "not" || !isSchema) && !a.seen[below(pointer, keyword)] {
					t.Errorf("no refused body proves %s", below(pointer, keyword))
				}
			}
		})
	}
}

// probe is a body at a bound, or beyond it.
type probe struct {
	operation string // "POST /shell"
	body      any
}

// accepted sends the body, for a job that runs.
func (p probe) accepted(d *daemon) (bool, answer) {
	method, path, _ := strings.Cut(p.operation, " ")
	job := newNonce()
	if strings.Contains(path, "{id}") {
		d.shell(fields{"command": "exec sleep 600", "jobId": job, "wait": false})
	}
	a := d.send(d.sign(method, strings.ReplaceAll(path, "{id}", job), jsonOf(p.body)))
	if strings.Contains(path, "{id}") {
		d.send(d.sign("DELETE", "/jobs/"+job, ""))
	}
	return a.status == 200, a
}

// markBounds marks the keywords that refuse a body.
func (a *apiDocument) markBounds(err error) {
	var refused *jsonschema.ValidationError
	if !errors.As(err, &refused) {
		return
	}
	path := refused.ErrorKind.KeywordPath()
	if _, isNot := refused.ErrorKind.(*kind.Not); isNot {
		path = []string{"not"}
	}
	if len(path) > 0 {
		a.mark(below(strings.TrimPrefix(refused.SchemaURL, apiURL), path[0]))
	}
	for _, cause := range refused.Causes {
		a.markBounds(cause)
	}
}

const (
	postShell  = "POST /shell"
	getOutput  = "GET /jobs/{id}/output"
	getEvents  = "GET /jobs/{id}/events"
	postSignal = "POST /jobs/{id}/signal"
	oneTrace   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

func long(n int) string { return strings.Repeat("a", n) }

func words(n int, word string) []string {
	return slices.Repeat([]string{word}, n)
}

// with is the body of a command with one more key.
func with(name string, value any) fields { return fields{"command": "true", name: value} }

func withLimit(name string, value any) fields { return with("limits", fields{name: value}) }

func script(name string, value any) fields { return fields{"script": "exit 0", name: value} }

func numbered(n int, prefix string, value string) fields {
	f := fields{}
	for i := range n {
		f[fmt.Sprint(prefix, i)] = value
	}
	return f
}

func envList(f fields) (list []string) {
	for name, value := range f {
		list = append(list, fmt.Sprint(name, "=", value))
	}
	return list
}

// acceptedProbes are bodies at each bound, and each value of an enum.
func (a *apiDocument) acceptedProbes() (all []probe) {
	for _, body := range []any{
		with("wait", true), with("keep", false),
		fields{"command": "t"},
		fields{"command": "true " + long(131071-5)},
		fields{"script": "x"},
		fields{"scriptBase64": "ZXhpdA=="},
		script("interpreter", append([]string{"/bin/true"}, words(63, "x")...)), script("args", words(1000, "x")),
		script("interpreter", []string{"/bin/sh"}), script("args", []string{}), script("args", []string{long(131071)}),
		script("interpreter", []string{"/bin/true", long(131071)}),
		with("stdin", ""), with("stdinBase64", "YQ=="), with("workdir", ""), with("workdir", "/"),
		with("envs", []string{"A="}), with("envs", []string{"A=" + long(131069)}), with("envs", fields{"A": long(131069)}),
		with("envs", fields{}), with("envs", []string{}),
		with("secretEnvs", numbered(16, "S", long(8))), with("secretEnvs", fields{"S": long(4096)}),
		with("secretEnvs", envList(numbered(16, "S", long(8)))), with("secretEnvs", []string{"S=" + long(4096)}),
		with("traceparent", oneTrace), with("callbackURL", ""), with("callbackURL", "HTTP://127.0.0.1:1/"),
		with("callbackURL", "https://127.0.0.1:1/"+long(8192-20)),
		with("timeout", 0.001), with("timeout", 604800), with("startWithin", 604800), with("grace", 0), with("grace", 600),
		with("jobId", long(64)), with("jobId", "a"), with("jobId", "_-Z9"),
		withLimit("openFiles", 0), withLimit("processes", 0), withLimit("memory", 0), withLimit("cpus", 0), withLimit("cpuTime", 0),
		withLimit("memory", 8388608), withLimit("cpus", 0.01), withLimit("cpus", 1024), withLimit("cpuTime", 604800),
		withLimit("cpuWeight", 0), withLimit("cpuWeight", 100), withLimit("ioWeight", 0), withLimit("ioWeight", 100),
		with("labels", numbered(8, "l", long(128))), with("labels", fields{"a" + long(31): "x"}), with("labels", fields{"a_9": "x"}),
		with("limits", fields{}),
	} {
		all = append(all, probe{postShell, body})
	}
	for _, name := range a.list("#/components/schemas/EndSignal/enum") {
		all = append(all, probe{postShell, with("signal", name)})
	}
	for _, stream := range a.list("#/components/schemas/OutputRequest/properties/stream/enum") {
		for _, from := range a.list("#/components/schemas/OutputRequest/properties/from/enum") {
			all = append(all, probe{getOutput, fields{"stream": stream, "from": from, "offset": 0, "follow": false}})
		}
	}
	for _, after := range []string{"", "0-0", "1152921504606846976-0", "0-0-end"} {
		all = append(all, probe{getEvents, fields{"after": after, "follow": false}})
	}
	for _, group := range []bool{false, true} {
		all = append(all, probe{postSignal, fields{"signal": "CONT", "group": group}})
	}
	for _, name := range a.list("#/components/schemas/SentSignal/enum") {
		all = append(all, probe{postSignal, fields{"signal": name}})
	}
	return all
}

func (a *apiDocument) list(pointer string) (texts []string) {
	list, _ := a.at(pointer).([]any)
	for _, value := range list {
		texts = append(texts, fmt.Sprint(value))
	}
	return texts
}

// refusedProbes are bodies just beyond each bound, or of another type.
func refusedProbes() (all []probe) {
	for _, body := range []any{
		fields{},
		fields{"command": ""},
		fields{"command": "true " + long(131072-5)},
		fields{"action": ""},
		fields{"command": "true", "action": "x"},
		fields{"command": "true", "script": "x"},
		fields{"script": ""},
		fields{"scriptBase64": ""},
		fields{"script": "x", "scriptBase64": "eA=="},
		fields{"command": "true", "stdin": "a", "stdinBase64": "YQ=="},
		with("interpreter", []string{"/bin/sh"}), with("args", []string{"x"}), script("interpreter", []string{}),
		script("interpreter", append([]string{"/bin/true"}, words(64, "x")...)), script("args", words(1001, "x")),
		script("args", []string{long(131072)}), script("interpreter", []string{"/bin/true", long(131072)}),
		script("args", "x"), script("args", []any{1}), script("args", []any{nil}),
		with("stdin", 1), with("wait", "true"), with("keep", 1), with("workdir", "tmp"),
		with("envs", "A=b"), with("envs", []string{"A"}), with("envs", []string{"=b"}), with("envs", []string{"A=" + long(131070)}),
		with("envs", fields{"A": long(131070)}), with("envs", fields{"": "b"}), with("envs", fields{"A=": "b"}), with("envs", fields{"A": 1}),
		with("secretEnvs", numbered(17, "S", long(8))), with("secretEnvs", envList(numbered(17, "S", long(8)))),
		with("secretEnvs", fields{"S": long(7)}), with("secretEnvs", fields{"S": long(4097)}),
		with("secretEnvs", fields{"": long(8)}), with("secretEnvs", []string{"S=" + long(7)}), with("secretEnvs", []string{"S"}),
		with("traceparent", strings.ToUpper(oneTrace)), with("traceparent", "01"+oneTrace[2:]),
		with("traceparent", "00-"+strings.Repeat("0", 32)+"-b7ad6b7169203331-01"),
		with("traceparent", oneTrace[:36]+strings.Repeat("0", 16)+"-01"),
		with("callbackURL", "ftp://127.0.0.1/"), with("callbackURL", "https://127.0.0.1:1/"+long(8193-20)),
		with("timeout", 0.00099), with("timeout", 604800.001), with("startWithin", 0.00099), with("startWithin", 604800.001),
		with("grace", -0.001), with("grace", 600.001), with("signal", "STOP"), with("signal", "term"),
		with("jobId", ""), with("jobId", long(65)), with("jobId", "a.b"),
		withLimit("openFiles", -1), withLimit("processes", -1), withLimit("memory", 8388607), withLimit("memory", -1),
		withLimit("openFiles", 1.5), withLimit("cpus", 0.009), withLimit("cpus", 1024.001), withLimit("cpuTime", -1),
		withLimit("cpuWeight", -1), withLimit("cpuWeight", 10001), withLimit("cpuWeight", 1.5),
		withLimit("ioWeight", -1), withLimit("ioWeight", 10001), withLimit("ioWeight", 1.5),
		withLimit("cpuTime", 604800.001), withLimit("other", 1), with("limits", 1), with("other", 1),
		with("labels", numbered(9, "l", "x")), with("labels", fields{"a" + long(32): "x"}), with("labels", fields{"A": "x"}),
		with("labels", fields{"9": "x"}), with("labels", fields{"a": ""}), with("labels", fields{"a": long(129)}), with("labels", fields{"a": 1}),
		json.RawMessage(`[]`), json.RawMessage(`null`),
	} {
		all = append(all, probe{postShell, body})
	}
	for _, body := range []any{
		fields{"stream": "stdin"}, fields{"from": "middle"}, fields{"offset": -1}, fields{"offset": 0.5}, fields{"follow": 0}, fields{"other": 1},
	} {
		all = append(all, probe{getOutput, body})
	}
	for _, after := range []any{"0", "00-0", "0-0-", "-1-0", "a", 0} {
		all = append(all, probe{getEvents, fields{"after": after}})
	}
	return append(all, probe{getEvents, fields{"other": 1}}, probe{postSignal, fields{}}, probe{postSignal, fields{"signal": "WINCH"}},
		probe{postSignal, fields{"signal": "HUP", "group": 1}}, probe{postSignal, fields{"signal": "HUP", "other": 1}})
}
