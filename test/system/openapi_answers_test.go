package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// absent are the documented parts that no scenario below shows, with the reason.
var absent = map[string]string{
	`/schemas/Outcome/properties/limitsBy/enum/0$`:          "cgroup: needs the controllers of cgroup v2, as TestLimits_OwnKernel has",
	`/schemas/Outcome/properties/ended/enum/5$`:             "result lost: needs a damaged disk",
	`/parameters/State/schema/enum/6$`:                      "result lost: as above",
	`~1jobs~1\{id\}(~1(output|events))?/get/responses/500$`: "needs a damaged disk, and a job that is on it only",
	`/responses/(2XX|413|599|4XX|default)`:                  "answers of receivers: the program only reads them, as TestCallback_… shows",
}

// call sends a signed request and checks its answer against the document.
func (a *apiDocument) call(d *daemon, method, path string, body any) answer {
	a.t.Helper()
	text := ""
	if body != nil {
		text = jsonOf(body)
	}
	got := d.send(d.sign(method, path, text))
	a.check(method, path, got)
	return got
}

// check compares an answer with the document, and marks what it shows.
func (a *apiDocument) check(method, path string, got answer) {
	a.t.Helper()
	template := regexp.MustCompile(`^/(jobs|callbacks)/[^/]+`).ReplaceAllString(path, "/$1/{id}")
	pointer := below("#/paths", template, strings.ToLower(method), "responses", strconv.Itoa(got.status))
	if a.at(pointer) == nil {
		a.t.Errorf("%s %s: the status %d is not in the document: %.300s", method, path, got.status, got.body)
		return
	}
	a.mark(pointer)
	response := a.follow(pointer)
	what := fmt.Sprintf("%s %s: %d", method, path, got.status)
	a.checkHeaders(what, response, got.header)
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	content := below(response, "content", media)
	switch {
	case method == "HEAD":
		return
	case a.at(content) == nil && got.body == "" && a.at(below(response, "content")) == nil:
		return
	case a.at(content) == nil:
		a.t.Errorf("%s: the type %q is not in the document", what, media)
		return
	}
	a.mark(content)
	switch media {
	case "application/json":
		a.checkValue(what, below(content, "schema"), fromJSON(a.t, got.body))
	case "text/event-stream":
		a.checkEvents(what, content, got.body)
	case "text/plain":
		if err := a.validate(below(content, "schema"), got.body); err != nil {
			a.t.Errorf("%s: %q: %v", what, got.body, err)
		}
	}
}

// checkHeaders leaves out those of HTTP itself.
func (a *apiDocument) checkHeaders(what, response string, header http.Header) {
	a.t.Helper()
	documented := a.object(below(response, "headers"))
	for name := range header {
		if documented[name] == nil && !slices.Contains([]string{"Content-Type", "Content-Length", "Date", "Connection", "Transfer-Encoding"}, name) &&
			documented[strings.ReplaceAll(name, "Www-", "WWW-")] == nil {
			a.t.Errorf("%s: the header %s is not in the document", what, name)
		}
	}
	for name := range documented {
		pointer := below(response, "headers", name)
		value := typed(header.Get(name))
		if err := a.validate(below(a.follow(pointer), "schema"), value); err != nil {
			a.t.Errorf("%s: the header %s: %v", what, name, err)
		}
		a.mark(pointer)
	}
}

// typed is the value of a header: a number, true, false or text.
func typed(text string) any {
	if regexp.MustCompile(`^(-?\d{1,9}|true|false)$`).MatchString(text) {
		var value any
		_ = json.Unmarshal([]byte(text), &value)
		return value
	}
	return text
}

func (a *apiDocument) checkEvents(what, content, body string) {
	a.t.Helper()
	for _, block := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		if strings.HasPrefix(block, ":") {
			continue
		}
		parts := regexp.MustCompile(`^id: (.*)\nevent: (.*)\ndata: (.*)$`).FindStringSubmatch(block)
		if parts == nil {
			a.t.Errorf("%s: got the event %q", what, block)
			continue
		}
		event := below(content, "x-events", parts[2])
		if a.at(event) == nil {
			a.t.Errorf("%s: the event %s is not in the document", what, parts[2])
			continue
		}
		a.mark(event)
		a.checkValue(what, event, fromJSON(a.t, parts[3]))
		a.checkValue(what, below(content, "x-event-id"), parts[1])
	}
}

// checkValue validates a value, and refuses keys that the schema has not.
func (a *apiDocument) checkValue(what, schema string, value any) {
	a.t.Helper()
	if err := a.validate(schema, value); err != nil {
		a.t.Errorf("%s: %v: %.500s", what, err, jsonOf(value))
		return
	}
	a.visit(what, []string{schema}, value)
}

// visit marks the keys and the values of enums that a value shows.
func (a *apiDocument) visit(what string, schemas []string, value any) {
	a.t.Helper()
	var all []string
	for _, schema := range schemas {
		all = append(all, a.parts(schema, value)...)
	}
	for _, schema := range all {
		list, _ := a.object(schema)["enum"].([]any)
		if i := slices.Index(list, value); i >= 0 {
			a.mark(below(schema, "enum", strconv.Itoa(i)))
		}
	}
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			var children []string
			for _, schema := range all {
				if child := below(schema, "properties", name); a.at(child) != nil {
					a.mark(child)
					children = append(children, child)
				} else if child = below(schema, "additionalProperties"); a.object(child) != nil {
					children = append(children, child)
				}
			}
			if len(children) == 0 {
				a.t.Errorf("%s: the key %q is not in the document", what, name)
			}
			a.visit(what, children, v[name])
		}
	case []any:
		for _, item := range v {
			var children []string
			for _, schema := range all {
				if child := below(schema, "items"); a.at(child) != nil {
					children = append(children, child)
				}
			}
			a.visit(what, children, item)
		}
	}
}

// parts are the schemas that hold for a value: the schema, those that it refers to, and those of
// its alternatives that fit.
func (a *apiDocument) parts(schema string, value any) []string {
	schema = a.follow(schema)
	all := []string{schema}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		for _, i := range namesOf(a.object(schema)[keyword]) {
			if part := below(schema, keyword, i); a.validate(part, value) == nil {
				all = append(all, a.parts(part, value)...)
			}
		}
	}
	return all
}

// checkCallback compares a callback with the document.
func (a *apiDocument) checkCallback(got delivered) {
	a.t.Helper()
	const operation = "#/paths/~1shell/post/callbacks/result/{$request.body#~1callbackURL}/post"
	what := "callback " + got.header.Get("X-Sidecar-State")
	documented := map[string]string{}
	for _, i := range namesOf(a.object(operation)["parameters"]) {
		parameter := a.follow(below(operation, "parameters", i))
		name, _ := a.object(parameter)["name"].(string)
		documented[name] = parameter
		switch value := got.header.Get(name); {
		case value != "":
			a.mark(parameter)
			schema := below(parameter, "schema")
			if err := a.validate(schema, headerValue(name, value)); err != nil {
				a.t.Errorf("%s: %s: %v", what, name, err)
			}
			a.visit(what, []string{schema}, value)
		case a.object(parameter)["required"] == true:
			a.t.Errorf("%s: no %s", what, name)
		}
	}
	for name, value := range got.header {
		scheme, isAuth := strings.CutPrefix(name, "X-Auth-")
		if isAuth {
			pattern, _ := a.object(below("#/components/securitySchemes", strings.ToLower(scheme)))["x-pattern"].(string)
			if pattern == "" || !regexp.MustCompile(pattern).MatchString(value[0]) {
				a.t.Errorf("%s: %s: %s, want %q", what, name, value[0], pattern)
			}
		} else if documented[name] == "" && !slices.Contains([]string{"Content-Type", "Content-Length", "User-Agent", "Accept-Encoding"}, name) {
			a.t.Errorf("%s: the header %s is not in the document", what, name)
		}
	}
	content := below(operation, "requestBody", "content", got.header.Get("Content-Type"))
	a.mark(content)
	a.checkValue(what, below(content, "schema"), fromJSON(a.t, got.body))
}

// headerValue is a number or a bool only where texts cannot be meant.
func headerValue(name, value string) any {
	if strings.HasPrefix(name, "Webhook-") || name == "X-Sidecar-Job-Id" {
		return value
	}
	return typed(value)
}

// answerParts are what answers can show: statuses, types, headers, keys, values of enums, events, and
// headers of callbacks.
func (a *apiDocument) answerParts() (all []string) {
	visited := map[string]bool{}
	var need func(pointer string)
	need = func(pointer string) {
		pointer = a.follow(pointer)
		if visited[pointer] {
			return
		}
		visited[pointer] = true
		for name, value := range a.object(pointer) {
			part := below(pointer, name)
			for _, child := range namesOf(value) {
				if slices.Contains([]string{"properties", "enum", "responses", "content", "headers", "x-events"}, name) {
					all = append(all, below(part, child))
				}
				need(below(part, child))
			}
			need(part)
		}
	}
	for _, o := range a.operations() {
		need(below(o.pointer, "responses"))
		need(below(o.pointer, "callbacks"))
		for _, status := range namesOf(a.object(o.pointer)["responses"]) {
			all = append(all, below(o.pointer, "responses", status))
		}
	}
	for name := range a.object("#/components/parameters") {
		if parameter := below("#/components/parameters", name); a.object(parameter)["in"] == "header" {
			all = append(all, parameter)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
