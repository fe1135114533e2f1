package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

const (
	setID          = "sidecar"
	setTitle       = "DataFlux Func Sidecar"
	setDescription = "Runs commands on the host of DataFlux Func through its Sidecar."
	note           = "Scripts for DataFlux Func Sidecar. They use a connector of the type " +
		"\"DataFlux Func Sidecar\" with the ID \"sidecar\"; " +
		"the script \"sidecar__example\" shows how."
)

// shipped lists the scripts, each after those that it imports.
var shipped = []shippedScript{
	{"wire", "Signed requests", "The foundation of the other scripts."},
	{"helper", "SidecarHelper", "Commands, jobs, and output while it is produced."},
	{"fleet", "SidecarFleet", "One command or action on many Sidecars."},
	{"callback", "Verification of callbacks", "verify_call, for functions that receive results."},
	{"example", "Examples", "Functions to start from."},
}

type shippedScript struct{ name, title, description string }

// metaFile is META.yaml. It is written as JSON, which is YAML, so that every text is quoted: an MD5
// of digits alone would be read as a number. It has no environment variables, because a second
// import would blank a key in them.
type metaFile struct {
	Version    int         `json:"version"`
	Extra      extra       `json:"extra"`
	ScriptSets []scriptSet `json:"scriptSets"`
}

type extra struct {
	Note string `json:"note"`
}

type scriptSet struct {
	ID           string   `json:"id"`
	Title        string   `json:"title"`
	Description  string   `json:"description"`
	Requirements *string  `json:"requirements"`
	OriginMD5    string   `json:"originMD5"`
	Scripts      []script `json:"scripts"`
}

type script struct {
	ID             string     `json:"id"`
	Title          string     `json:"title"`
	Description    string     `json:"description"`
	PublishVersion int        `json:"publishVersion"`
	Type           string     `json:"type"`
	CodeMD5        string     `json:"codeMD5"`
	UpdateTime     string     `json:"updateTime"`
	Funcs          []function `json:"funcs"`
}

// function is a function that is published with @DFF.API.
type function struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Title       string     `json:"title"`
	Description *string    `json:"description"`
	Definition  string     `json:"definition"`
	Args        []string   `json:"argsJSON"`
	Kwargs      parameters `json:"kwargsJSON"`
	ExtraConfig struct{}   `json:"extraConfigJSON"`
	Category    string     `json:"category"`
	Integration *string    `json:"integration"`
	Tags        *string    `json:"tagsJSON"`
	DefOrder    int        `json:"defOrder"`
}

// parameters are an object of JSON in the order of the definition.
type parameters []parameter

// parameter has a default, unless the function requires it.
type parameter struct {
	name    string  // lower-case letters and _
	Default *string `json:"default,omitempty"`
}

func (p parameters) MarshalJSON() ([]byte, error) {
	var pairs [][]byte
	for _, one := range p {
		value := bytes.TrimSuffix(encode(one, ""), []byte("\n"))
		pairs = append(pairs, append([]byte(`"`+one.name+`":`), value...))
	}
	return slices.Concat([]byte("{"), bytes.Join(pairs, []byte(",")), []byte("}")), nil
}

func describe(s shippedScript, code []byte, released time.Time) (script, error) {
	id := setID + "__" + s.name
	functions, err := publishedFunctions(id, string(code))
	if err != nil {
		return script{}, err
	}
	return script{
		ID: id, Title: s.title, Description: s.description, PublishVersion: 1, Type: "python",
		CodeMD5: hexMD5(code), UpdateTime: released.Format(time.RFC3339), Funcs: functions,
	}, nil
}

// originMD5 is the checksum by which Func tells that a set has changed, over what counts as its
// content.
func originMD5(set scriptSet) string {
	var scripts []any
	sorted := slices.Clone(set.Scripts)
	slices.SortFunc(sorted, func(a, b script) int { return strings.Compare(a.ID, b.ID) })
	for _, s := range sorted {
		scripts = append(scripts, map[string]any{
			"id": s.ID, "title": s.Title, "description": s.Description, "type": s.Type,
			"codeMD5": s.CodeMD5,
		})
	}
	// encoding/json sorts the keys of a map.
	return hexMD5(bytes.TrimSuffix(encode(map[string]any{
		"scriptSet": map[string]any{}, "scripts": scripts, "id": set.ID, "title": set.Title,
		"description": set.Description, "requirements": set.Requirements,
	}, ""), []byte("\n")))
}

func hexMD5(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

// encode writes JSON without escapes for HTML, and ends it with a line feed.
func encode(value any, indent string) []byte {
	var held bytes.Buffer
	e := json.NewEncoder(&held)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(value); err != nil {
		panic(err) // these types always have a JSON form
	}
	return held.Bytes()
}
