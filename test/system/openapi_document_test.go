package system

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// apiDocument is docs/openapi.yaml, and the parts of it that the program has shown. A part has a
// JSON pointer such as #/components/schemas/Outcome/properties/signal.
type apiDocument struct {
	t        *testing.T
	root     map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
	seen    map[string]bool
}

const apiURL = "https://sidecar.invalid/openapi.json"

func openAPIDocument(t *testing.T) *apiDocument {
	t.Helper()
	var decoded any
	if err := yaml.Unmarshal([]byte(document(t, "docs/openapi.yaml")), &decoded); err != nil {
		t.Fatal(err) // also of a key that is there twice
	}
	root, _ := fromJSON(t, jsonOf(decoded)).(map[string]any)
	a := &apiDocument{
		t: t, root: root, compiler: jsonschema.NewCompiler(),
		schemas: map[string]*jsonschema.Schema{}, seen: map[string]bool{},
	}
	if err := a.compiler.AddResource(apiURL, root); err != nil {
		t.Fatal(err)
	}
	return a
}

// fromJSON keeps numbers as json.Number, as the validator wants them.
func fromJSON(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %.300s", err, text)
	}
	return value
}

// at is the part at a pointer, nil if there is none.
func (a *apiDocument) at(pointer string) any {
	var node any = a.root
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch parent := node.(type) {
		case map[string]any:
			node = parent[token]
		case []any:
			if i, err := strconv.Atoi(token); err == nil && i < len(parent) {
				node = parent[i]
				continue
			}
			return nil
		default:
			return nil
		}
	}
	return node
}

func (a *apiDocument) object(pointer string) map[string]any {
	o, _ := a.at(pointer).(map[string]any)
	return o
}

// below is the pointer of a part of a part.
func below(pointer string, tokens ...string) string {
	for _, token := range tokens {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
	}
	return pointer
}

// follow returns where a $ref leads, or the pointer itself.
func (a *apiDocument) follow(pointer string) string {
	if ref, ok := a.object(pointer)["$ref"].(string); ok {
		return a.follow(ref)
	}
	return pointer
}

func (a *apiDocument) mark(pointer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[pointer] = true
}

// walk calls f with each object of the document.
func (a *apiDocument) walk(pointer string, f func(pointer string, o map[string]any)) {
	switch node := a.at(pointer).(type) {
	case map[string]any:
		f(pointer, node)
		for name := range node {
			a.walk(below(pointer, name), f)
		}
	case []any:
		for i := range node {
			a.walk(below(pointer, strconv.Itoa(i)), f)
		}
	}
}

// validate checks a value against the schema at the pointer.
func (a *apiDocument) validate(pointer string, value any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	schema := a.schemas[pointer]
	if schema == nil {
		var err error
		if schema, err = a.compiler.Compile(apiURL + pointer); err != nil {
			return fmt.Errorf("not a schema: %w", err)
		}
		a.schemas[pointer] = schema
	}
	return schema.Validate(value)
}

// operation is one method of a path of the document.
type operation struct{ path, method, pointer string }

func (o operation) String() string { return strings.ToUpper(o.method) + " " + o.path }

// operations are those of all paths, in order.
func (a *apiDocument) operations() (all []operation) {
	for _, path := range slices.Sorted(maps.Keys(a.object("#/paths"))) {
		for _, method := range []string{"delete", "get", "head", "options", "patch", "post", "put", "trace"} {
			pointer := below("#/paths", path, method)
			if a.object(pointer) != nil {
				all = append(all, operation{path, method, pointer})
			}
		}
	}
	return all
}

// The schema is the OpenAPI Initiative's own, under the Apache licence 2.0, unchanged. It leaves
// the schemas of a document to the JSON Schema of 2020-12, which the library has.
func TestOpenAPIDocument_IsValid(t *testing.T) {
	t.Parallel()
	a := openAPIDocument(t)
	compiler := jsonschema.NewCompiler()
	official := fromJSON(t, document(t, "test/system/testdata/openapi-3.1-schema.json"))
	if err := compiler.AddResource("https://sidecar.invalid/oas", official); err != nil {
		t.Fatal(err)
	}
	if err := compiler.MustCompile("https://sidecar.invalid/oas").Validate(a.root); err != nil {
		t.Errorf("not OpenAPI 3.1: %v", err)
	}
	draft := compiler.MustCompile("https://json-schema.org/draft/2020-12/schema")
	known := strings.Fields("type enum const pattern minLength maxLength minimum maximum minItems maxItems " +
		"maxProperties properties propertyNames additionalProperties required items allOf anyOf oneOf not " +
		"dependentSchemas contentEncoding description default $ref")
	used, schemas := map[string]bool{}, 0
	var check func(pointer string)
	check = func(pointer string) {
		schema, isObject := a.at(pointer).(map[string]any)
		if !isObject {
			return // true, false
		}
		schemas++
		for keyword, value := range schema {
			if !slices.Contains(known, keyword) {
				t.Errorf("%s: %q is no keyword of a schema, or a new one for this test", pointer, keyword)
			}
			_, isList := value.([]any)
			switch {
			case keyword == "properties" || keyword == "dependentSchemas" || isList && strings.HasSuffix(keyword, "Of"):
				for _, name := range namesOf(value) {
					check(below(pointer, keyword, name))
				}
			case slices.Contains([]string{"items", "not", "propertyNames", "additionalProperties"}, keyword):
				check(below(pointer, keyword))
			}
		}
		if err := draft.Validate(schema); err != nil {
			t.Errorf("%s: not a JSON Schema: %v", pointer, err)
		}
	}
	a.walk("#", func(pointer string, o map[string]any) {
		if ref, ok := o["$ref"].(string); ok {
			used[ref] = true
			if a.at(ref) == nil {
				t.Errorf("%s leads to %s: there is none", pointer, ref)
			}
		}
		if ref, ok := o["response"].(string); ok { // of our own extensions
			used[ref] = true
		}
		if pointer == "#/components/schemas" {
			for name := range o {
				check(below(pointer, name))
			}
		} else if o["schema"] != nil {
			check(below(pointer, "schema"))
		}
	})
	for kind := range a.object("#/components") {
		for name := range a.object(below("#/components", kind)) {
			if pointer := below("#/components", kind, name); kind != "securitySchemes" && !used[pointer] {
				t.Errorf("nothing refers to %s", pointer)
			}
		}
	}
	if schemas < 100 || len(a.operations()) < 13 {
		t.Errorf("got %d schemas and %d operations, want 100 and 13 or more", schemas, len(a.operations()))
	}
}

// namesOf are the keys of an object, or the indexes of a list.
func namesOf(value any) (names []string) {
	switch v := value.(type) {
	case map[string]any:
		return slices.Sorted(maps.Keys(v))
	case []any:
		for i := range v {
			names = append(names, strconv.Itoa(i))
		}
	}
	return names
}

// The program lists the keys of a body when it refuses one.
func TestOpenAPIDocument_RequestKeys(t *testing.T) {
	t.Parallel()
	a, d := openAPIDocument(t), startDaemon(t, `DRAIN_TIMEOUT = "0s"`)
	d.shell(fields{"command": "exec sleep 600", "jobId": "it", "wait": false})
	bodies := 0
	for _, o := range a.operations() {
		schema := a.follow(below(o.pointer, "requestBody", "content", "application/json", "schema"))
		if a.at(schema) == nil {
			continue
		}
		bodies++
		path := strings.ReplaceAll(o.path, "{id}", "it")
		ask := func(body string) []string {
			answer := d.send(d.sign(strings.ToUpper(o.method), path, body))
			list := regexp.MustCompile(`unknown key "no such key": the keys are ([A-Za-z0-9, ]+)$`).FindStringSubmatch(answer.Message)
			if answer.status != 400 || list == nil {
				t.Fatalf("%s: got %d %s, want 400 with the keys", o, answer.status, answer.body)
			}
			return strings.Split(list[1], ", ")
		}
		wantSameKeys(t, o.String(), ask(`{"no such key":1}`), namesOf(a.object(schema)["properties"]))
		nulls := fields{}
		for _, name := range namesOf(a.object(schema)["properties"]) {
			nulls[name] = nil
		}
		switch o.path {
		case "/shell":
			nulls["command"] = "true"
		case "/jobs/{id}/signal":
			nulls["signal"] = "CONT"
		default:
			nulls["follow"] = false
		}
		if answer := d.send(d.sign(strings.ToUpper(o.method), path, jsonOf(nulls))); answer.status != 200 {
			t.Errorf("%s: null is not as absent: got %d %s", o, answer.status, answer.body)
		}
		for _, name := range namesOf(a.object(schema)["properties"]) {
			nested := a.object(a.follow(below(schema, "properties", name)))
			if nested["properties"] != nil {
				body := jsonOf(fields{"command": "true", name: fields{"no such key": 1}})
				wantSameKeys(t, o.String()+" "+name, ask(body), namesOf(nested["properties"]))
			}
		}
	}
	if bodies != 4 {
		t.Errorf("%d operations have a body, want 4", bodies)
	}
}

func wantSameKeys(t *testing.T, what string, program, document []string) {
	t.Helper()
	slices.Sort(program)
	if !slices.Equal(program, document) {
		t.Errorf("%s: the program takes %q, the document has %q", what, program, document)
	}
}

// Every other method is 405, whose Allow lists those of the document; every path of the program is
// in it. The program has no list of its paths to ask for: they are those of its source.
func TestOpenAPIDocument_Routes(t *testing.T) {
	t.Parallel()
	a, d := openAPIDocument(t), startDaemonWithMetrics(t)
	program := []string{"/"}
	for _, route := range found(document(t, "internal/executor/serve.go"), `(?m)^\t+"(/[^"]*)": +\{"`) {
		program = append(program, strings.ReplaceAll(route[0], "ID", "{id}"))
	}
	wantSameKeys(t, "paths", program, namesOf(a.object("#/paths")))
	for _, path := range namesOf(a.object("#/paths")) {
		var methods []string
		for _, o := range a.operations() {
			if o.path == path {
				methods = append(methods, strings.ToUpper(o.method))
			}
		}
		answer := d.send(d.sign("PATCH", strings.ReplaceAll(path, "{id}", "it"), ""))
		answer.wantRefusal(t, 405, "")
		documented, _ := a.object(below("#/paths", path, "x-other-methods"))["allow"].(string)
		if allow := answer.header.Get("Allow"); allow != documented || allow != strings.Join(methods, ", ") {
			t.Errorf("%s: Allow is %q, the document says %q and has the methods %q", path, allow, documented, methods)
		}
		if row := regexp.MustCompile("\\| \\[`[A-Z]+ " + strings.ReplaceAll(path, "{id}", "ID") + "`\\]"); !row.MatchString(document(t, "docs/protocol.md")) {
			t.Errorf("docs/protocol.md has no row of %s", path)
		}
	}
	d.send(d.sign("GET", "/nowhere", "")).wantRefusal(t, 404, "")
	wantSameKeys(t, "statuses", statusesOfProgram(d), a.statuses())
}

// statusesOfProgram are those that have a counter, and those of the HTTP library.
func statusesOfProgram(d *daemon) []string {
	all := []string{"417", "431", "501", "505"}
	for _, line := range found(d.page(), `requests_total\{status="(\d+)"`) {
		all = append(all, line[0])
	}
	return all
}

func (a *apiDocument) statuses() (all []string) {
	for _, o := range a.operations() {
		all = append(all, namesOf(a.object(o.pointer)["responses"])...)
	}
	all = append(all, "405") // x-other-methods
	slices.Sort(all)
	return slices.Compact(all)
}
